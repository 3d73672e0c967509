//! Objects that processes share, of one machine or several: a server owns them, others have
//! proxies.
//!
//! [`Manager`] is the way in; it says what happens when a process dies.
//! [`managed`](crate::managed) makes a class of a type, ready-made ones are here.
//!
//! ```standalone_crate
//! use kinfolk::{Manager, Process};
//!
//! /// What the manager owns.
//! struct Tally {
//!     votes: Vec<String>,
//! }
//!
//! #[kinfolk::managed]
//! impl Tally {
//!     pub fn new() -> Self {
//!         Self { votes: Vec::new() }
//!     }
//!
//!     pub fn vote(&mut self, name: &str) -> usize {
//!         self.votes.push(name.to_owned());
//!         self.count(name)
//!     }
//!
//!     pub fn count(&self, name: &str) -> usize {
//!         self.votes.iter().filter(|vote| *vote == name).count()
//!     }
//! }
//!
//! fn vote(tally: TallyProxy) -> usize {
//!     tally.vote("Ada").expect("the manager lives")
//! }
//!
//! fn main() -> kinfolk::Result<()> {
//!     let _family = kinfolk::init();
//!     let manager = Manager::builder().register::<Tally>()?.start()?;
//!     let tally = manager.create::<Tally>(())?;
//!     let voters: Vec<_> =
//!         (0..3).map(|_| Process::spawn(vote, tally.clone())).collect::<Result<_, _>>()?;
//!     for voter in voters {
//!         voter.join()?;
//!     }
//!     assert_eq!(tally.count("Ada")?, 3);
//!     manager.shutdown()
//! }
//! ```
//!
//! # Programs that are no relatives
//!
//! One program [`bind`](ManagerBuilder::bind)s at an address that others know, and
//! [`serve`](Server::serve_forever)s, or starts a manager [there](ManagerBuilder::address). Others
//! [`connect`](Manager::connect) with the same key, and find objects by
//! [name](Manager::get). A proxy fits only an object whose class has the same methods in both
//! programs: else it is refused.
//!
//! # Calls
//!
//! A call blocks until its answer comes. Its errors:
//!
//! * [`ErrorKind::Panicked`]: the method panicked. The manager lives, and the object goes on as the
//!   panic left it.
//! * [`ErrorKind::Serialize`], [`ErrorKind::Deserialize`]: an argument or the result cannot travel;
//!   file descriptors cannot.
//! * [`ErrorKind::TooLong`]: it is longer than the manager's
//!   [largest message](ManagerBuilder::largest_message).
//! * [`ErrorKind::Exhausted`]: the manager has no room for another connection, or this process no
//!   file descriptor.
//! * [`ErrorKind::Disconnected`]: the manager is gone. Whether the method was called is not known.
//! * [`ErrorKind::NotFound`]: the object is gone with its manager, or its proxy's process has lost
//!   all connections.
//! * [`ErrorKind::NotOwner`]: the proxy was made before a fork, in the parent of this process.
//!
//! Each connection has a thread in the manager, so a method that takes long holds up nobody but
//! who needs the same object: `&mut self` excludes others, `&self` does not. A `&mut self` method that
//! calls its own object by a proxy waits for itself.
//!
//! # Proxies that travel
//!
//! A proxy is a value: it travels in arguments, pipes, queues, and in calls of other objects. It
//! carries the manager's address and the object's number, never the key: the process that receives
//! it connects with its own, unless it is [connected](Manager::connect) already. A proxy
//! between two processes keeps its object: from the moment at which it is serialised until a minute
//! after it was last deserialised, or a minute after the end of the process that serialised it.
//!
//! Used by users; uses all other rooms.
//!
//! [`ErrorKind::Panicked`]: crate::ErrorKind::Panicked
//! [`ErrorKind::Serialize`]: crate::ErrorKind::Serialize
//! [`ErrorKind::Deserialize`]: crate::ErrorKind::Deserialize
//! [`ErrorKind::TooLong`]: crate::ErrorKind::TooLong
//! [`ErrorKind::Exhausted`]: crate::ErrorKind::Exhausted
//! [`ErrorKind::Disconnected`]: crate::ErrorKind::Disconnected
//! [`ErrorKind::NotFound`]: crate::ErrorKind::NotFound
//! [`ErrorKind::NotOwner`]: crate::ErrorKind::NotOwner

mod builder;
mod caller;
mod classes;
mod client;
mod gate;
mod hangups;
mod limits;
mod link;
#[allow(clippy::module_inception, reason = "it is the room's main type")]
mod manager;
mod object;
mod objects;
mod protocol;
mod proxy;
#[cfg(feature = "pickle")]
pub mod python;
mod random;
mod ready_made;
mod server;
mod serving;
mod statistics;
mod table;

pub use builder::ManagerBuilder;
pub use manager::Manager;
#[doc(hidden)]
pub use object::{Call, not_made};
pub use object::{Create, Managed};
pub use objects::array::ArrayProxy;
pub use objects::barrier::BarrierProxy;
pub use objects::condition::{ConditionProxy, ConditionProxyGuard};
pub use objects::dict::DictProxy;
pub use objects::event::EventProxy;
pub use objects::list::ListProxy;
pub use objects::lock::{LockProxy, LockProxyGuard};
pub use objects::namespace::NamespaceProxy;
pub use objects::owner::AcquireError;
pub use objects::pool::PoolProxy;
pub use objects::queue::QueueProxy;
pub use objects::rlock::{RLockProxy, RLockProxyGuard};
pub use objects::segments::SegmentsProxy;
pub use objects::semaphore::{BoundedSemaphoreProxy, PermitProxy, SemaphoreProxy};
pub use objects::set::SetProxy;
pub use objects::value::ValueProxy;
#[doc(hidden)]
pub use proxy::deserialize;
pub use proxy::{Proxy, Reference};
/// What the code that [`managed`](crate::managed) makes needs of serde.
#[doc(hidden)]
pub use serde;
pub use server::Server;
pub use statistics::Statistics;
