//! The ready-made classes: each file has the object and its proxy.
//!
//! Containers hold [`Plain`](crate::Plain) data, whatever types their proxies have: clients of
//! other types, and in other languages, see the same values.

pub(super) mod array;
pub(super) mod barrier;
pub(super) mod condition;
pub(super) mod dict;
pub(super) mod event;
pub(super) mod list;
pub(super) mod lock;
pub(super) mod namespace;
pub(super) mod owner;
pub(super) mod pool;
pub(super) mod queue;
pub(super) mod ready;
pub(super) mod rlock;
pub(super) mod segments;
pub(super) mod semaphore;
pub(super) mod set;
pub(super) mod value;

use super::classes::Class;
use ready::class;

/// All of them.
pub(super) const CLASSES: [Class; 16] = [
    class::<array::Array>(),
    class::<barrier::Barrier>(),
    class::<semaphore::BoundedSemaphore>(),
    class::<condition::Condition>(),
    class::<dict::Dict>(),
    class::<event::Event>(),
    class::<list::List>(),
    class::<lock::Lock>(),
    class::<namespace::Namespace>(),
    class::<pool::WorkerPool>(),
    class::<queue::Queue>(),
    class::<rlock::RLock>(),
    class::<segments::Segments>(),
    class::<semaphore::Semaphore>(),
    class::<set::Set>(),
    class::<value::Value>(),
];
