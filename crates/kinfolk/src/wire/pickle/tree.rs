//! The tree of what a pickle has built.

use super::globals::Global;
use super::machine::{Graph, Id, Node};
use super::object::{Exception, Object, Token, no_call, wrong};
use crate::wire::plain::{Dict, MAX_DEPTH, Plain, Set, too_deep};
use crate::{Error, Result};

/// What copies of values that are used more than once may take, in bytes: a constant,
/// and so many times the bytes of the pickle. A few bytes could else become any number.
const COPIES: (usize, usize) = (16 << 20, 64);

/// What a value takes, in bytes, beside what it is of.
const EACH: usize = 64;

/// The object that a graph is of.
///
/// # Errors
///
/// [`ErrorKind::Deserialize`](crate::ErrorKind::Deserialize) if it is not one of those
/// that are known, too deep, in itself, or much larger than the `size` of the pickle,
/// in bytes.
pub(super) fn object(graph: &Graph<'_>, size: usize) -> Result<Object> {
    let states = vec![State::New; graph.nodes.len()];
    let copies = COPIES.0.saturating_add(size.saturating_mul(COPIES.1));
    Tree { nodes: &graph.nodes, states, copies }.object(graph.root, 1)
}

/// How far a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not yet seen.
    New,
    /// What is in it is looked at: whoever meets it again, it is in itself.
    Open,
    /// Used before.
    Done,
}

/// A graph on its way to a tree.
struct Tree<'a> {
    /// Its values.
    nodes: &'a [Node<'a>],
    /// How far each is.
    states: Vec<State>,
    /// How many bytes copies may still take.
    copies: usize,
}

impl<'a> Tree<'a> {
    /// An object.
    fn object(&mut self, id: Id, depth: usize) -> Result<Object> {
        let node = self.enter(id, depth)?;
        let inside = depth + 1;
        let object = match node {
            Node::Tuple(items) => {
                let items = items.iter().map(|item| self.object(*item, inside));
                tuple(items.collect::<Result<_>>()?)
            }
            Node::Call(Global::Exception(class), args) => {
                let Plain::Tuple(args) = self.plain(*args, inside)? else {
                    return Err(wrong("an exception's arguments are no tuple"));
                };
                Object::Exception(Exception { class: *class, args })
            }
            Node::Call(Global::Slice, args) => {
                Object::Slice(self.plain(*args, inside)?.to_value().map_err(|_| no_call())?)
            }
            Node::Token(state) => {
                let state = state.ok_or_else(|| wrong("a token has no state"))?;
                let (typeid, address, id) =
                    self.plain(state, inside)?.to_value::<(String, Plain, String)>()?;
                Object::Token(Token { typeid, address, id })
            }
            _ => Object::Plain(self.inside(node, inside)?),
        };
        self.states[id as usize] = State::Done;
        Ok(object)
    }

    /// Plain data.
    fn plain(&mut self, id: Id, depth: usize) -> Result<Plain> {
        let node = self.enter(id, depth)?;
        let plain = self.inside(node, depth + 1)?;
        self.states[id as usize] = State::Done;
        Ok(plain)
    }

    /// Looks at a value before it is made.
    fn enter(&mut self, id: Id, depth: usize) -> Result<&'a Node<'a>> {
        if depth > MAX_DEPTH {
            return Err(wrong(&too_deep()));
        }
        let node = &self.nodes[id as usize];
        match std::mem::replace(&mut self.states[id as usize], State::Open) {
            State::New => {}
            State::Open => return Err(wrong("a value is in itself")),
            State::Done => {
                let size = EACH
                    + match node {
                        Node::Text(text) => text.len(),
                        Node::Bytes(bytes) => bytes.len(),
                        _ => 0,
                    };
                self.copies = self.copies.checked_sub(size).ok_or_else(|| {
                    wrong("it uses values again and again, which would be too large")
                })?;
            }
        }
        Ok(node)
    }

    /// Plain data, of which what is inside is so deep.
    fn inside(&mut self, node: &'a Node<'a>, depth: usize) -> Result<Plain> {
        Ok(match node {
            Node::None => Plain::None,
            Node::Bool(truth) => Plain::Bool(*truth),
            Node::Int(number) => Plain::Int(*number),
            Node::Float(number) => Plain::Float(*number),
            Node::Text(text) => Plain::Text(text.to_string()),
            Node::Bytes(bytes) => Plain::Bytes(bytes.to_vec()),
            Node::List(items) => Plain::List(self.items(items, depth)?),
            Node::Tuple(items) => Plain::Tuple(self.items(items, depth)?),
            Node::Set(items) => {
                Set::from_items(self.items(items, depth)?).map_err(unhashable)?.into()
            }
            Node::Dict(pairs) => {
                let mut dict = Dict::new();
                for (key, value) in pairs {
                    let key = self.plain(*key, depth)?;
                    dict.insert(key, self.plain(*value, depth)?).map_err(unhashable)?;
                }
                dict.into()
            }
            Node::Call(global, args) => match self.plain(*args, depth)? {
                Plain::Tuple(args) => call(*global, args)?,
                _ => return Err(no_call()),
            },
            Node::Token(_) => return Err(not_plain("Token")),
            Node::Global(_) => return Err(not_plain("type")),
        })
    }

    /// The items of a container.
    fn items(&mut self, items: &'a [Id], depth: usize) -> Result<Vec<Plain>> {
        items.iter().map(|item| self.plain(*item, depth)).collect()
    }
}

/// What a call makes, if it is plain.
fn call(global: Global, args: Vec<Plain>) -> Result<Plain> {
    let mut args = args.into_iter();
    let args = (args.next(), args.next(), args.next());
    Ok(match (global, args) {
        (Global::Exception(class), _) => return Err(not_plain(class.name)),
        (Global::Set, (None, ..)) => Set::new().into(),
        (Global::Set, (Some(Plain::Set(set)), None, _)) => set.into(),
        (Global::Set, (Some(Plain::List(items) | Plain::Tuple(items)), None, _)) => {
            Set::from_items(items).map_err(unhashable)?.into()
        }
        (Global::List, (Some(list @ Plain::List(_)), None, _)) => list,
        (Global::Bytes, (None, ..)) => Plain::Bytes(Vec::new()),
        (Global::Bytes, (Some(Plain::Bytes(bytes)), None, _)) => Plain::Bytes(bytes),
        // As which old protocols have bytes.
        (
            Global::Bytes | Global::Encode,
            (Some(Plain::Text(text)), Some(Plain::Text(encoding)), None),
        ) if encoding == "latin1" || encoding == "latin-1" => {
            let bytes = text.chars().map(u8::try_from).collect::<Result<_, _>>();
            Plain::Bytes(bytes.map_err(|_| wrong("bytes are not bytes"))?)
        }
        _ => return Err(no_call()),
    })
}

/// A tuple of objects, plain if all are.
fn tuple(objects: Vec<Object>) -> Object {
    if objects.iter().any(|object| !matches!(object, Object::Plain(_))) {
        return Object::Tuple(objects);
    }
    let plain = |object| match object {
        Object::Plain(plain) => Some(plain),
        _ => None,
    };
    Object::Plain(Plain::Tuple(objects.into_iter().filter_map(plain).collect()))
}

/// A value stands where plain data must.
fn not_plain(class: &str) -> Error {
    wrong(&format!("it has an object of {class} among plain data"))
}

/// What cannot be a key is one.
fn unhashable(error: Error) -> Error {
    wrong(&error.to_string())
}
