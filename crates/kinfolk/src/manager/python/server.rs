//! A server's side of a connection of Python's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arguments::Arguments;
use super::message::{Reply, Request};
use super::methods::{self, Answer, Call, Iterator};
use super::raised::Raised;
use crate::log::{self, LogLevel};
use crate::manager::caller::Caller;
use crate::manager::link::Link;
use crate::manager::object::{Object as Owned, Undo, caught};
use crate::manager::protocol::Hello;
use crate::manager::server::Shared;
use crate::wire::pickle::{Object, Token};
use crate::{Error, ErrorKind, Plain, Result};

/// Whether a client's first message is one of this protocol: a pickle begins so.
pub(in crate::manager) fn is_request(message: &[u8]) -> bool {
    message.first() == Some(&0x80)
}

/// Serves a connection, whose first message has come, until its client or the server ends.
/// One that may not stay is told `too_many`.
pub(in crate::manager) fn serve(
    shared: &Arc<Shared>,
    number: u64,
    mut link: Link,
    first: &[u8],
    too_many: Option<Error>,
) {
    let request = match (too_many, Request::read(first)) {
        (None, Ok(request)) => request,
        (Some(error), _) | (None, Err(error)) => {
            tell(&mut link, refusal(&error));
            return;
        }
    };
    if request.method == "accept_connection" && request.object.is_none() {
        return serve_objects(shared, number, link, request);
    }
    let ends = request.method == "shutdown";
    let mut undo = None;
    let done = caught(|| control(shared, request, &mut undo));
    let reply = match done.unwrap_or_else(|error| Err(error.into())) {
        Ok(object) => Reply::Return(object),
        Err(raised) => Reply::Traceback(traceback(raised)),
    };
    if !tell(&mut link, reply)
        && let Some(undo) = undo
    {
        undo();
    }
    if ends {
        shared.end();
    }
}

/// Does what concerns the manager itself.
fn control(
    shared: &Arc<Shared>,
    request: Request,
    undo: &mut Option<Undo>,
) -> Result<Object, Raised> {
    let table = &shared.table;
    let mut args = Arguments::new(request.args, request.named)?;
    Ok(Object::Plain(match &*request.method {
        "dummy" | "shutdown" => {
            args.none()?;
            Plain::None
        }
        "create" => create(shared, args, undo)?,
        "incref" => {
            table.refer_foreign(number(&args.one()?)?)?;
            Plain::None
        }
        "decref" => {
            table.release_foreign(number(&args.one()?)?)?;
            Plain::None
        }
        "get_methods" => {
            let id = match args.items.pop() {
                Some(Object::Token(token)) => token.id,
                _ => return Err(Raised::type_error("get_methods() takes a token")),
            };
            exposed(&*table.object(number(&id.into())?)?)?
        }
        "number_of_objects" => {
            args.none()?;
            Plain::Int(table.statistics().objects as i128)
        }
        "debug_info" => {
            args.none()?;
            debug_info(shared).into()
        }
        other => {
            let says = format!("{other:?} unrecognized");
            return Err(Raised::saying("AssertionError", says));
        }
    }))
}

/// Makes an object, or finds the one of a name: its name here, and its methods.
fn create(
    shared: &Arc<Shared>,
    mut args: Arguments,
    undo: &mut Option<Undo>,
) -> Result<Plain, Raised> {
    let name = match args.items.is_empty() {
        false => args.items.remove(0).plain()?,
        true => return Err(Raised::type_error("create() takes a type's name")),
    };
    let Plain::Text(name) = name else {
        return Err(Raised::type_error("create() takes a type's name"));
    };
    let table = &shared.table;
    let (number, checked) = match table.get_foreign(&name)? {
        Some(number) => (number, args.none()),
        None => match methods::make(&name, args)? {
            Some(object) => (table.insert_foreign(object)?, Ok(())),
            None => return Err(Raised::new("KeyError", vec![name.into()])),
        },
    };
    let release = release(shared, number);
    let methods = checked.and_then(|()| exposed(&*table.object(number)?));
    match methods {
        Ok(methods) => {
            *undo = Some(release);
            Ok(Plain::Tuple(vec![format!("{number:x}").into(), methods]))
        }
        Err(raised) => {
            release();
            Err(raised)
        }
    }
}

/// Takes a reference back that the client does not learn of.
fn release(shared: &Arc<Shared>, number: u64) -> Undo {
    let shared = Arc::clone(shared);
    Box::new(move || drop(shared.table.release_foreign(number)))
}

/// The names of an object's methods.
fn exposed(object: &dyn Owned) -> Result<Plain, Raised> {
    let methods = methods::of(object).ok_or_else(|| foreign(object))?;
    Ok(Plain::Tuple(methods.exposed().iter().map(|name| (*name).into()).collect()))
}

/// The error for an object whose methods Python cannot call.
fn foreign(object: &dyn Owned) -> Raised {
    let class = object.class();
    Raised::type_error(format!("the object is a {class}, which only programs of Rust can use"))
}

/// What there is, for people.
fn debug_info(shared: &Shared) -> String {
    let mut lines = Vec::new();
    for (number, references) in shared.table.foreign() {
        let Ok(object) = shared.table.object(number) else { continue };
        let text = methods::of(&*object).map_or_else(|| object.class().to_owned(), |it| it.repr());
        let text: String = text.chars().take(75).collect();
        lines.push(format!("  {number:x}:       refcount={references}\n    {text}"));
    }
    lines.join("\n")
}

/// Serves calls of objects until the client or the server ends.
fn serve_objects(shared: &Arc<Shared>, number: u64, mut link: Link, request: Request) {
    let name = match request.args.into_iter().next() {
        Some(Object::Plain(Plain::Text(name))) => name,
        _ => String::new(),
    };
    // What it holds is given up when the connection ends.
    let session = match shared.table.join(Hello { session: None, pid: 0, name }) {
        Ok((session, _)) => session,
        Err(error) => {
            tell(&mut link, refusal(&error));
            return;
        }
    };
    log::event(LogLevel::Debug, format_args!("client {number} of Python is {session:?}"));
    let caller = Arc::new(Caller::new(session, number, link.plug()));
    let ended = shared.hangups.enter(&caller).and_then(|()| {
        // Looked at afterwards: whoever ends the server sees the connection, or this its end.
        if shared.is_ending() {
            return Ok(());
        }
        send(&mut link, Reply::Return(Object::Plain(Plain::None)))?;
        answer_all(shared, &caller, &mut link)
    });
    if let Err(error) = ended
        && !error.is_disconnected()
    {
        log::event(LogLevel::Warning, format_args!("client {number} was cut off: {error}"));
    }
    // What it holds is released before it can learn that the connection has ended.
    drop(caller.leave(&shared.table));
    shared.hangups.exit(&caller);
}

/// Answers request after request.
fn answer_all(shared: &Arc<Shared>, caller: &Arc<Caller>, link: &mut Link) -> Result<()> {
    loop {
        let message = match link.recv(shared.limits.message) {
            Ok(message) => message,
            Err(error) if error.kind() == ErrorKind::TooLong => {
                // What it sent is not read, so it can be told but not served any more.
                tell(link, refusal(&error));
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let mut undo = None;
        shared.calls.fetch_add(1, Ordering::Relaxed);
        let reply = answer(shared, caller, &message, &mut undo);
        shared.calls.fetch_sub(1, Ordering::Relaxed);
        let sent = if caller.is_gone() {
            Err(Error::new(ErrorKind::Disconnected, "the client is gone"))
        } else {
            let (bytes, whole) = encode(reply, shared.limits.message)?;
            if !whole && let Some(undo) = undo.take() {
                // An error is no result: nothing was given to the caller.
                undo();
            }
            link.send(&bytes)
        };
        if let Err(error) = sent {
            if let Some(undo) = undo {
                undo();
            }
            return Err(error);
        }
    }
}

/// The bytes of a reply, and whether they are those; else they say why not.
fn encode(reply: Reply, longest: usize) -> Result<(Vec<u8>, bool)> {
    let why = match reply.write() {
        Ok(bytes) if bytes.len() <= longest => return Ok((bytes, true)),
        Ok(bytes) => format!(
            "the result has {} bytes, more than the manager's largest message, {longest}",
            bytes.len()
        ),
        Err(error) => error.to_string(),
    };
    Ok((Reply::Unserializable(why).write()?, false))
}

/// Calls a method.
fn answer(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    message: &[u8],
    undo: &mut Option<Undo>,
) -> Reply {
    let called = caught(|| call(shared, caller, message, undo));
    match called.unwrap_or_else(|error| Err(error.into())) {
        Ok(reply) => reply,
        Err(Raised::Exception(exception)) => Reply::Error(exception),
        Err(raised) => Reply::Traceback(traceback(raised)),
    }
}

/// Calls a method, or one of those that all objects have.
fn call(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    message: &[u8],
    undo: &mut Option<Undo>,
) -> Result<Reply, Raised> {
    let Request { object, method, args, named } = Request::read(message)?;
    let number = number(&object.unwrap_or_default().into())?;
    let object = shared.table.object(number)?;
    let methods = methods::of(&*object).ok_or_else(|| foreign(&*object))?;
    let value = match &*method {
        "__repr__" | "__str__" => methods.repr().into(),
        "#GETVALUE" => methods.value().ok_or_else(|| Raised::type_error("it is no plain data"))?,
        _ => {
            let mut call = Call { caller, object: (number, &object), undo: None };
            let args = Arguments::new(args, named)?;
            let answered = methods.call(&method, args, &mut call);
            *undo = call.undo;
            match answered {
                Ok(Answer::Value(value)) => value,
                Ok(Answer::Iterator(items)) => return iterator(shared, items, undo),
                Err(Raised::NoMethod) => {
                    let class = object.class();
                    return Ok(Reply::Traceback(format!(
                        "AttributeError: a {class} has no method {method:?} for its proxies"
                    )));
                }
                Err(raised) => return Err(raised),
            }
        }
    };
    Ok(Reply::Return(Object::Plain(value)))
}

/// A new object that gives these items out.
fn iterator(
    shared: &Arc<Shared>,
    items: Vec<Plain>,
    undo: &mut Option<Undo>,
) -> Result<Reply, Raised> {
    let number = shared.table.insert_foreign(Arc::new(Iterator::new(items)))?;
    *undo = Some(release(shared, number));
    let methods = vec!["__next__".into()];
    // Its client knows where the manager is.
    let (typeid, address) = ("Iterator".to_owned(), Plain::None);
    let token = Token { typeid, address, id: format!("{number:x}") };
    Ok(Reply::Proxy(methods, token))
}

/// The number of an object that Python's clients name so.
fn number(name: &Plain) -> Result<u64, Raised> {
    let number = match name {
        Plain::Text(text) => u64::from_str_radix(text, 16).ok(),
        _ => None,
    };
    number.ok_or_else(|| Raised::new("KeyError", vec![name.clone()]))
}

/// Sends a reply.
fn send(link: &mut Link, reply: Reply) -> Result<()> {
    link.send(&reply.write()?)
}

/// Sends the last reply on a connection. Returns whether it was sent.
fn tell(link: &mut Link, reply: Reply) -> bool {
    match send(link, reply) {
        Ok(()) => true,
        Err(error) if error.is_disconnected() => false,
        Err(error) => {
            log::event(LogLevel::Warning, format_args!("a client of Python was not told: {error}"));
            false
        }
    }
}

/// The reply to what is not served.
fn refusal(error: &Error) -> Reply {
    Reply::Traceback(error.to_string())
}

/// What a client is shown of an error.
fn traceback(raised: Raised) -> String {
    match raised {
        Raised::Exception(exception) => exception.to_string(),
        Raised::NoMethod => "AttributeError".to_owned(),
        Raised::Failed(error) => error.to_string(),
    }
}
