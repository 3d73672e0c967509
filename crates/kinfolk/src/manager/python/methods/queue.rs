//! A queue.

use std::sync::Arc;
use std::time::Duration;

use super::dict::length;
use super::{Answer, Arguments, Call, Methods, Raised};
use crate::manager::gate::Patience;
use crate::manager::objects::queue::Queue;
use crate::manager::python::arguments::{Negative, patience};
use crate::{ErrorKind, Plain};

impl Methods for Queue {
    fn exposed(&self) -> &'static [&'static str] {
        &["empty", "full", "get", "get_nowait", "join", "put", "put_nowait", "qsize", "task_done"]
    }

    fn call(&self, method: &str, args: Arguments, call: &mut Call<'_>) -> Result<Answer, Raised> {
        let at_once = Patience::of(Some(Duration::ZERO));
        Ok(match method {
            "put" => {
                let [item, block, timeout] = args.bind(["item", "block", "timeout"], 1)?;
                let patience = patience(block.as_ref(), timeout.as_ref(), Negative::Refused)?;
                put(self, item.unwrap_or_default(), patience, call)?
            }
            "put_nowait" => {
                let [item] = args.bind(["item"], 1)?;
                put(self, item.unwrap_or_default(), at_once, call)?
            }
            "get" => {
                let [block, timeout] = args.bind(["block", "timeout"], 0)?;
                let patience = patience(block.as_ref(), timeout.as_ref(), Negative::Refused)?;
                get(self, patience, call)?
            }
            "get_nowait" => {
                args.none()?;
                get(self, at_once, call)?
            }
            "qsize" => {
                args.none()?;
                length(self.len())
            }
            "empty" => {
                args.none()?;
                (self.len() == 0).into()
            }
            "full" => {
                args.none()?;
                (self.len() >= self.most()).into()
            }
            "task_done" => {
                args.none()?;
                self.task_done().map_err(|error| match error.kind() {
                    ErrorKind::InvalidInput => {
                        Raised::saying("ValueError", "task_done() called too many times")
                    }
                    _ => error.into(),
                })?;
                ().into()
            }
            "join" => {
                args.none()?;
                while !self.join(call.caller, Patience::of(None))? {}
                ().into()
            }
            _ => return Err(Raised::NoMethod),
        })
    }

    fn repr(&self) -> String {
        format!("<Queue, {} items>", self.len())
    }
}

/// Puts an item in.
fn put(queue: &Queue, item: Plain, patience: Patience, call: &Call<'_>) -> Result<Answer, Raised> {
    if queue.put(call.caller, item, patience)? { Ok(().into()) } else { Err(Raised::queue("Full")) }
}

/// Takes an item.
fn get(queue: &Queue, patience: Patience, call: &mut Call<'_>) -> Result<Answer, Raised> {
    let item = queue.get(call.caller, patience)?.ok_or_else(|| Raised::queue("Empty"))?;
    call.undo_by(queue.put_back(Arc::clone(&item)));
    Ok(Plain::clone(&item).into())
}
