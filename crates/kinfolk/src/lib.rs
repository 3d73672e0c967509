//! Process-based parallelism in which every process can be killed.
//!
//! A child process calls a function of this program with a typed argument, and
//! its result comes back typed. Whatever happens to it, SIGKILL included, no
//! other process hangs, no message is torn and nothing is left behind.
//!
//! ```standalone_crate
//! use kinfolk::Process;
//!
//! fn double(n: u32) -> u32 {
//!     2 * n
//! }
//!
//! fn main() -> kinfolk::Result<()> {
//!     let _family = kinfolk::init();
//!     let process = Process::spawn(double, 21)?;
//!     assert_eq!(process.join()?, 42);
//!     Ok(())
//! }
//! ```
//!
//! Many items are for a [`Pool`]: a worker that dies costs the item that it ran.
//!
//! ```standalone_crate
//! use kinfolk::Pool;
//!
//! fn main() -> kinfolk::Result<()> {
//!     let _family = kinfolk::init();
//!     let pool = Pool::builder().workers(2).retries(1).build()?;
//!     let squares = pool.map(|n: u64| n * n, 1..=4)?;
//!     assert_eq!(squares, [1, 4, 9, 16]);
//!     Ok(())
//! }
//! ```
//!
//! # Overview
//!
//! * [`init`] is the first line of `main`; [`test_init`] its form for tests.
//! * [`Pool`] has workers that call functions for it, one item or many; its options,
//!   handles and iterators are in [`pool`]. [`ThreadPool`] has the same on threads.
//! * [`Process`] is a child with a typed result, [`Child`] the same without the
//!   type, [`Builder`] and [`Context`] its options.
//! * [`pipe`] makes two connected [`Connection`]s; [`Handle`] carries a file
//!   descriptor inside a value.
//! * [`Listener`] and [`Client`] connect programs, at an [`Address`] of this machine or
//!   another, that know the same [`AuthKey`]; [`ConnectionOptions`] says how.
//! * [`queue::bounded`] makes a queue, for many senders and receivers.
//! * [`Lock`], [`RLock`], [`Semaphore`], [`BoundedSemaphore`], [`Condition`], [`Event`] and
//!   [`Barrier`] work between processes, and go on when one is killed in the middle.
//! * [`Value`] and [`Array`] are plain data in shared memory with a lock, [`RawValue`] and
//!   [`RawArray`] without.
//! * [`Manager`] owns objects that processes share by proxies, on one machine or several:
//!   [`managed`] makes them of users' types, ready-made ones are in [`manager`].
//! * [`SharedMemory`] is memory of several processes, with a name or without.
//! * [`ShareableList`] is a list in it, which Python's `multiprocessing` shares.
//! * [`Plain`] is plain data as Python has it, of any serde type.
//! * [`wait`](wait()) and [`WaitSet`] wait for many at once.
//! * Bindings to other languages are built of [`queue::ByteQueue`], [`pool::BytePool`],
//!   [`BytePipe`], [`Challenges`], [`Lifeline`], [`signal_tree`], [`set_interrupt`], and objects
//!   as file descriptors.
//!
//! # What happens when a process dies
//!
//! Its sentinel becomes ready and [`Process::join`] returns how it ended. A
//! connection whose last other end died with it is disconnected, after all
//! messages that it had sent. Its own children end with it. Nothing else changes.
//!
//! Between programs, a process that dies in the middle of a message leaves the beginning
//! of it: an error of kind [`ErrorKind::Truncated`]. Over TCP what it sent last may be lost, and
//! who is on the way can end a connection: a program that must know that it has all says
//! goodbye. A machine that is gone is noticed after the time of the option
//! [`keep_alive`](ConnectionOptions::keep_alive).
//!
//! A worker of a [`Pool`] costs the item that it was running: an error of kind
//! [`ErrorKind::Died`] that says how it ended and at which item, or another try
//! ([`retries`](pool::PoolBuilder::retries)). The pool gives all else that the worker had
//! to others, and starts another in its place; one that was idle costs nothing. When the
//! process with the pool dies, all its workers do.
//!
//! What a client of a [`Manager`] holds there is released with it, and its waiting calls
//! end; when a manager dies, its clients get errors of kind [`ErrorKind::Disconnected`].
//!
//! # Not supported
//!
//! Systems other than Linux (5.9 or later) with a mounted `/proc`. Operations are not
//! async-signal-safe. All processes of a family share one pid namespace.
//!
//! # Crate features
//!
//! * `indicatif`: a bar of how far a pool's map has come. Off; costs indicatif.
//! * `pickle`: values as Python's pickles, and Python's managers. Off; costs nothing else.
//! * `tokio`: await a process's end and a connection. Off; costs tokio.
//! * `tracing`: the library's events as tracing events, and what workers of a [`Pool`] tell
//!   `tracing` for the subscriber of its process. Off; costs tracing.
#![deny(unsafe_code)]

// What the attribute `managed` makes names the library by its name.
extern crate self as kinfolk;

/// The program of the README, compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

mod connection;
mod error;
mod log;
pub mod manager;
pub mod pool;
mod process;
pub mod queue;
mod shm;
mod sync;
mod sys;
mod testing;
mod wait;
mod wire;

/// Plain data: any bytes of its size are a valid value, and it holds no reference. Its
/// derive macro is in the crate `bytemuck`, version 1.
pub use bytemuck::Pod;
#[cfg(feature = "tokio")]
pub use connection::AsyncConnection;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use connection::fuzzing as handshakes;
pub use connection::{
    Address, BufferTooShort, BytePipe, Challenges, Client, Closed, Connection, ConnectionOptions,
    Listener, PipeMessage, RecvIntoError, answer_challenge, answer_challenge_timeout,
    deliver_challenge, deliver_challenge_timeout, pipe, pipe_one_way,
};
pub use error::{Error, ErrorKind, Result};
/// Makes the type of an `impl` block one that a manager can own, and the proxy of it.
///
/// For `impl Counter` it makes `CounterProxy`, which has the methods of the block, each on `&self`
/// and with a [`Result`] of what the method returns: it calls the object in the manager's process
/// and waits for the answer. The functions of the block are left as they are.
///
/// * `pub fn new(…) -> Self`, or `-> Result<Self, E>` where `E` is `Display`, makes the objects that
///   clients ask for by [`Manager::create`]. Without it only the server's own program can give it
///   objects, by [`Server::register`](manager::Server::register).
/// * A method takes `&self` or `&mut self`. Those with `&self` run at the same time as others, those
///   with `&mut self` alone: each object is behind an `RwLock`, so the type is `Send` and `Sync`.
/// * Arguments and results are values that serde can carry. An argument may also be `&T`, `&str` or
///   `&[T]`: it travels as a value, and is lent to the method. A proxy is a value too. Types are
///   named: `Self`, which is another type in the proxy, is for the result of `new`.
///
/// Names, order and signatures of the methods are the class: proxies of a program in which they
/// differ are refused.
///
/// ```standalone_crate
/// struct Counter(u64);
///
/// #[kinfolk::managed]
/// impl Counter {
///     pub fn new(start: u64) -> Self {
///         Self(start)
///     }
///
///     pub fn add(&mut self, n: u64) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let manager = kinfolk::Manager::builder().register::<Counter>()?.start()?;
///     let counter: CounterProxy = manager.create::<Counter>(40)?;
///     assert_eq!(counter.add(2)?, 42);
///     Ok(())
/// }
/// ```
pub use kinfolk_macros::managed;
pub use log::{LogLevel, log_to_stderr};
#[doc(inline)]
pub use manager::Manager;
#[doc(inline)]
pub use pool::{Pool, ThreadPool};
#[doc(hidden)]
pub use process::init_for_tests;
pub use process::{
    AtExit, AuthKey, Builder, Child, CloseError, Context, CurrentProcess, ExitStatus, Family,
    JoinTimeoutError, Lifeline, ParentProcess, Process, StartMethod, Stdio, TreeEnd,
    active_children, cpu_count, current_process, force_start_method, init, parent_process,
    set_forkserver_preload, set_start_method, signal_tree, start_method, start_methods,
};
pub use shm::{
    Array, ListItem, RawArray, RawValue, ShareableList, SharedGuard, SharedMemory, Value,
};
pub use sync::{
    Abandoned, AnyLock, Barrier, BoundedSemaphore, BrokenBarrier, Condition, Enlisted, Event, Lock,
    LockGuard, Permit, RLock, RLockGuard, Semaphore, set_interrupt,
};
pub use wait::{Key, WaitSet, wait};
pub use wire::fd;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use wire::fuzzing;
pub use wire::handle::Handle;
#[cfg(feature = "pickle")]
pub use wire::pickle;
pub use wire::plain::{self, Plain};
