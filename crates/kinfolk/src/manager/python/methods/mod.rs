//! The methods of the ready-made objects, as Python knows them.

mod containers;
mod dict;
mod iterator;
mod list;
mod make;
mod order;
mod queue;
mod sync;

use std::any::Any;
use std::sync::Arc;

pub(super) use iterator::Iterator;
pub(super) use make::make;

use super::arguments::Arguments;
use super::raised::Raised;
use crate::Plain;
use crate::manager::caller::Caller;
use crate::manager::object::{Object, Undo};
use crate::manager::objects;

/// An object that Python's clients can use.
pub(super) trait Methods {
    /// The names of its methods.
    fn exposed(&self) -> &'static [&'static str];

    /// Calls a method.
    fn call(&self, method: &str, args: Arguments, call: &mut Call<'_>) -> Result<Answer, Raised>;

    /// All that it holds, if that is plain data.
    fn value(&self) -> Option<Plain> {
        None
    }

    /// What it says of itself.
    fn repr(&self) -> String {
        self.value().unwrap_or_default().to_string()
    }
}

/// What a method returns.
#[derive(Debug)]
pub(super) enum Answer {
    /// A value.
    Value(Plain),
    /// An iterator, which stays with the manager.
    Iterator(Vec<Plain>),
}

/// A call of a method.
pub(super) struct Call<'a> {
    /// Who calls.
    pub(super) caller: &'a Arc<Caller>,
    /// What is called, and its number.
    pub(super) object: (u64, &'a Arc<dyn Object>),
    /// Takes the call's effect back if its answer cannot be sent.
    pub(super) undo: Option<Undo>,
}

impl Call<'_> {
    /// Notes that the caller may hold something of the object from now on.
    fn note_holding(&self) {
        self.caller.session().note_holding(self.object.0, self.object.1);
    }

    /// Says how to take the call's effect back.
    fn undo_by(&mut self, undo: impl FnOnce() + 'static) {
        self.undo = Some(Box::new(undo));
    }
}

impl<T: Into<Plain>> From<T> for Answer {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// A function that finds an object of one class.
type Find = fn(&dyn Object) -> Option<&dyn Methods>;

/// An object of class `T`, if it is one.
fn find<T: Methods + 'static>(object: &dyn Object) -> Option<&dyn Methods> {
    let object: &dyn Any = object;
    object.downcast_ref::<T>().map(|object| object as &dyn Methods)
}

/// The classes.
const CLASSES: [Find; 12] = [
    find::<Iterator>,
    find::<objects::array::Array>,
    find::<objects::dict::Dict>,
    find::<objects::event::Event>,
    find::<objects::list::List>,
    find::<objects::lock::Lock>,
    find::<objects::namespace::Namespace>,
    find::<objects::queue::Queue>,
    find::<objects::rlock::RLock>,
    find::<objects::semaphore::BoundedSemaphore>,
    find::<objects::semaphore::Semaphore>,
    find::<objects::value::Value>,
];

/// The methods of an object, if it is of a class that Python's clients can use.
pub(super) fn of(object: &dyn Object) -> Option<&dyn Methods> {
    CLASSES.iter().find_map(|find| find(object))
}
