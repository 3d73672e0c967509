//! New objects, as Python asks for them.

use std::sync::{Arc, RwLock};

use super::dict::pairs;
use super::list::items;
use super::{Arguments, Raised};
use crate::manager::object::Object;
use crate::manager::objects::array::Array;
use crate::manager::objects::dict::Dict;
use crate::manager::objects::event::Event;
use crate::manager::objects::list::List;
use crate::manager::objects::lock::Lock;
use crate::manager::objects::namespace::Namespace;
use crate::manager::objects::queue::Queue;
use crate::manager::objects::ready::Ready;
use crate::manager::objects::rlock::RLock;
use crate::manager::objects::semaphore::{BoundedSemaphore, Semaphore};
use crate::manager::objects::value::Value;
use crate::manager::python::arguments::whole;

/// Makes an object of a type that Python's `SyncManager` has; `None` if it has none of this
/// name, or there is none here.
pub(in crate::manager::python) fn make(
    name: &str,
    args: Arguments,
) -> Result<Option<Arc<dyn Object>>, Raised> {
    Ok(Some(match name {
        "dict" => Arc::new(Dict(RwLock::new(pairs(args)?))),
        "list" => {
            let [from] = args.bind(["iterable"], 0)?;
            Arc::new(List(RwLock::new(from.map_or(Ok(Vec::new()), items)?)))
        }
        "Queue" | "JoinableQueue" => {
            let [most] = args.bind(["maxsize"], 0)?;
            let most = most.map_or(Ok(0), |most| whole(&most))?;
            // Less than one is no limit.
            Arc::new(Queue::make(usize::try_from(most).unwrap_or(0))?)
        }
        "Lock" => empty::<Lock>(args)?,
        "RLock" => empty::<RLock>(args)?,
        "Event" => empty::<Event>(args)?,
        "Semaphore" => Arc::new(Semaphore::make(permits(args)?)?),
        "BoundedSemaphore" => Arc::new(BoundedSemaphore::make(permits(args)?)?),
        "Namespace" => {
            let values = args.named.into_pairs().map(|(name, value)| Ok((name.to_value()?, value)));
            Arc::new(Namespace(RwLock::new(values.collect::<crate::Result<_>>()?)))
        }
        "Value" => {
            let [_, value, _] = args.bind(["typecode", "value", "lock"], 2)?;
            Arc::new(Value(RwLock::new(value.unwrap_or_default())))
        }
        "Array" => {
            let [_, from, _] = args.bind(["typecode", "sequence", "lock"], 2)?;
            Arc::new(Array::of(from.unwrap_or_default())?)
        }
        _ => return Ok(None),
    }))
}

/// An object that is made of nothing.
fn empty<T: Ready<Arguments = ()>>(args: Arguments) -> Result<Arc<dyn Object>, Raised> {
    args.none()?;
    Ok(Arc::new(T::make(())?))
}

/// The permits of a semaphore.
fn permits(args: Arguments) -> Result<u64, Raised> {
    let [value] = args.bind(["value"], 0)?;
    let value = value.map_or(Ok(1), |value| whole(&value))?;
    u64::try_from(value)
        .map_err(|_| Raised::saying("ValueError", "semaphore initial value must be >= 0"))
}
