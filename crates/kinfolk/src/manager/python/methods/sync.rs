//! Locks, semaphores and events.

use super::{Answer, Arguments, Call, Methods, Raised};
use crate::manager::gate::Patience;
use crate::manager::objects::event::Event;
use crate::manager::objects::lock::Lock;
use crate::manager::objects::owner::Owner;
use crate::manager::objects::rlock::RLock;
use crate::manager::objects::semaphore::{BoundedSemaphore, Permits, Semaphore};
use crate::manager::python::arguments::{Negative, patience, whole};
use crate::{ErrorKind, Plain, Result as Done};

/// The methods of all that is acquired.
const ACQUIRER: &[&str] = &["acquire", "release"];

/// The most permits that are released at once.
const MOST: u64 = 1 << 16;

/// How long an `acquire` waits.
fn waits(args: Arguments, negative: Negative) -> Result<Patience, Raised> {
    let [blocking, timeout] = args.bind(["blocking", "timeout"], 0)?;
    patience(blocking.as_ref(), timeout.as_ref(), negative)
}

/// A release, which may be one too many.
fn released(done: Done<()>, exception: &'static str, says: &str) -> Result<Answer, Raised> {
    match done {
        Ok(()) => Ok(().into()),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            Err(Raised::saying(exception, says))
        }
        Err(error) => Err(error.into()),
    }
}

impl Methods for Lock {
    fn exposed(&self) -> &'static [&'static str] {
        ACQUIRER
    }

    fn call(&self, method: &str, args: Arguments, call: &mut Call<'_>) -> Result<Answer, Raised> {
        match method {
            "acquire" => {
                let patience = waits(args, Negative::OneIsForever)?;
                call.note_holding();
                let taken = self.acquire(call.caller, patience)?;
                let acquired = taken.is_some();
                if let Some(taken) = taken {
                    call.undo_by(self.undo(Owner::of(call.caller, 0), taken));
                }
                Ok(acquired.into())
            }
            "release" => {
                args.none()?;
                released(self.release(), "RuntimeError", "release unlocked lock")
            }
            _ => Err(Raised::NoMethod),
        }
    }

    fn repr(&self) -> String {
        "<Lock>".to_owned()
    }
}

impl Methods for RLock {
    fn exposed(&self) -> &'static [&'static str] {
        ACQUIRER
    }

    /// A connection is of one thread of its client.
    fn call(&self, method: &str, args: Arguments, call: &mut Call<'_>) -> Result<Answer, Raised> {
        let owner = Owner::of(call.caller, 0);
        match method {
            "acquire" => {
                let patience = waits(args, Negative::OneIsForever)?;
                call.note_holding();
                let taken = self.acquire(call.caller, owner, patience)?;
                let acquired = taken.is_some();
                if let Some(taken) = taken {
                    call.undo_by(self.undo(owner, taken));
                }
                Ok(acquired.into())
            }
            "release" => {
                args.none()?;
                released(self.release(owner), "RuntimeError", "cannot release un-acquired lock")
            }
            _ => Err(Raised::NoMethod),
        }
    }

    fn repr(&self) -> String {
        "<RLock>".to_owned()
    }
}

/// Calls a method of a semaphore.
fn semaphore(
    permits: &Permits,
    method: &str,
    args: Arguments,
    call: &mut Call<'_>,
) -> Result<Answer, Raised> {
    let session = call.caller.session().number;
    match method {
        "acquire" => {
            let patience = waits(args, Negative::AtOnce)?;
            call.note_holding();
            let acquired = permits.acquire(call.caller, patience)?;
            if acquired {
                call.undo_by(permits.undo(session));
            }
            Ok(acquired.into())
        }
        "release" => {
            let [count] = args.bind(["n"], 0)?;
            let count = whole(&count.unwrap_or_else(|| 1.into()))?;
            let Some(count @ 1..=MOST) = u64::try_from(count).ok() else {
                let says = format!("n must be one or more, and at most {MOST}");
                return Err(Raised::saying("ValueError", says));
            };
            let done = permits.release(session, count);
            released(done, "ValueError", "Semaphore released too many times")
        }
        _ => Err(Raised::NoMethod),
    }
}

/// Both kinds of semaphores.
macro_rules! semaphores {
    ($($kind:ident)*) => {$(
        impl Methods for $kind {
            fn exposed(&self) -> &'static [&'static str] {
                ACQUIRER
            }

            fn call(
                &self,
                method: &str,
                args: Arguments,
                call: &mut Call<'_>,
            ) -> Result<Answer, Raised> {
                semaphore(&self.0, method, args, call)
            }

            fn repr(&self) -> String {
                format!("<{}, value {}>", stringify!($kind), self.0.value())
            }
        }
    )*};
}

semaphores! {
    BoundedSemaphore
    Semaphore
}

impl Methods for Event {
    fn exposed(&self) -> &'static [&'static str] {
        &["clear", "is_set", "set", "wait"]
    }

    fn call(&self, method: &str, args: Arguments, call: &mut Call<'_>) -> Result<Answer, Raised> {
        match method {
            "is_set" => args.none().map(|()| self.is_set().into()),
            "set" => {
                args.none()?;
                self.set();
                Ok(().into())
            }
            "clear" => {
                args.none()?;
                self.clear();
                Ok(().into())
            }
            "wait" => {
                let [timeout] = args.bind(["timeout"], 0)?;
                let timeout = timeout.filter(|timeout| *timeout != Plain::None);
                Ok(self
                    .wait(call.caller, patience(None, timeout.as_ref(), Negative::AtOnce)?)?
                    .into())
            }
            _ => Err(Raised::NoMethod),
        }
    }

    fn repr(&self) -> String {
        format!("<Event, {}>", if self.is_set() { "set" } else { "unset" })
    }
}
