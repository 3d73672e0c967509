//! The manager's protocol of Python's `multiprocessing`: its clients use the ready-made
//! objects of a manager here, and this program those of a manager there.
//!
//! | message | pickle of |
//! |---|---|
//! | a request | the object's name (its number in hexadecimal) or `None`, a method's name, a tuple of arguments, a dict of named ones |
//! | an answer | what kind it is, and the value, exception, text, or the name of a new object |
//!
//! A connection serves one request about the manager itself; after `accept_connection`, any
//! number about objects. What Python counts as references is not tied to a connection, so the
//! death of its client leaves them; what a connection holds, a lock or a permit, is given up
//! when it ends, and what it waits for is not given to it.

mod arguments;
mod client;
mod message;
mod methods;
mod proxies;
mod raised;
mod server;

pub use client::{PythonManager, PythonObject};
pub use proxies::{PythonDict, PythonList, PythonLock, PythonNamespace, PythonQueue};
pub(super) use server::{is_request, serve};
