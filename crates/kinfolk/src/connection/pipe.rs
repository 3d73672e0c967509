//! Making pipes.

use super::Connection;
use crate::sys::socket;
use crate::{Error, Result};

/// The direction that a one-way pipe does not have: no value can be sent or
/// received in it, so trying to does not compile.
///
/// ```compile_fail,E0277
/// let (receiving, _sending) = kinfolk::pipe_one_way::<u32>().unwrap();
/// receiving.send(&todo!());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {}

/// Makes a pipe: two connected ends, each of which sends and receives.
///
/// What one end sends, the other receives in the same order, as whole messages.
/// Hand one end to another process as (part of) its argument or in a message.
///
/// ```
/// let (a, b) = kinfolk::pipe::<u32, String>()?;
/// a.send(&7)?;
/// b.send(&format!("got {}", b.recv()?))?;
/// assert_eq!(a.recv()?, "got 7");
/// # Ok::<(), kinfolk::Error>(())
/// ```
///
/// # Errors
///
/// If this process has no free file descriptors.
#[doc(alias = "Pipe")]
pub fn pipe<S, R>() -> Result<(Connection<S, R>, Connection<R, S>)> {
    let (a, b) = socket::pair().map_err(|error| Error::io(error, "making a pipe"))?;
    Ok((Connection::from_socket(a), Connection::from_socket(b)))
}

/// Makes a pipe whose first end receives and whose second sends.
///
/// ```
/// let (receiving, sending) = kinfolk::pipe_one_way::<u32>()?;
/// sending.send(&7)?;
/// assert_eq!(receiving.recv()?, 7);
/// # Ok::<(), kinfolk::Error>(())
/// ```
///
/// # Errors
///
/// If this process has no free file descriptors.
pub fn pipe_one_way<T>() -> Result<(Connection<Closed, T>, Connection<T, Closed>)> {
    pipe()
}
