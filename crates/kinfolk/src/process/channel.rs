//! The private channel between a parent and one child: the preparation and the
//! argument go down, a greeting and a report come back.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use super::report::{Greeting, Report};
use super::status::ExitStatus;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::socket;
use crate::wire::codec::{self, Encoded};
use crate::wire::frame::{self, Care, Message, Wait};
use crate::{Error, ErrorKind, Result};

/// The parent's end of a child's channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// The socket; gone when the child's last word was read or the handle dropped.
    socket: Option<PrivateFd>,
    /// The child's first message, once it came.
    greeting: Option<Greeting>,
    /// The child's last message, once it came.
    report: Option<Message>,
    /// Whether the last message is wanted.
    wanted: bool,
}

impl Channel {
    /// Makes a channel; the second is the child's end.
    ///
    /// # Errors
    ///
    /// If the process has no free file descriptors.
    pub(super) fn new() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socket::pair().map_err(|error| Error::io(error, "making a child's channel"))?;
        let socket = Some(PrivateFd::new(ours));
        Ok((Self { socket, greeting: None, report: None, wanted: true }, theirs))
    }

    /// Sends a message to the child. One whose child is gone is not an error
    /// here: the child's end says why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Start`] if the child, which reads nothing, leaves no room for it
    /// until `deadline`.
    pub(super) fn send(&self, message: &Encoded, deadline: Instant) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let Encoded { bytes, handles } = message;
        match frame::send(socket.as_fd(), bytes, handles, Wait::Until(deadline)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(
                ErrorKind::Start,
                "the process read nothing of what it was told in time, as if it were stopped, and \
                 was killed",
            )),
            Err(error) if error.is_disconnected() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads what has come and is wanted, without waiting. A malformed message
    /// is as none.
    pub(super) fn drain(&mut self) {
        while let Some(socket) = &self.socket {
            // No handle comes with a greeting.
            let care = if self.greeting.is_none() { Care::Fast } else { Care::KEEP };
            let Ok(Some(message)) = frame::recv(socket.as_fd(), care, Wait::Until(Instant::now()))
            else {
                return;
            };
            if self.greeting.is_none() {
                self.greeting = codec::decode(&message.payload, message.handles).ok();
            } else {
                self.report = Some(message);
            }
            if self.report.is_some() || (self.greeted() && !self.wanted) {
                self.socket = None;
            }
        }
    }

    /// Whether the child has begun, or refused to.
    pub(super) fn greeted(&self) -> bool {
        self.greeting.is_some()
    }

    /// Why the child refused to begin.
    pub(super) fn refusal(&self) -> Option<&str> {
        match &self.greeting {
            Some(Greeting::Refused(reason)) => Some(reason),
            _ => None,
        }
    }

    /// How the child said that it would exit.
    pub(super) fn announced(&self) -> Option<ExitStatus> {
        let report = self.report.as_ref()?;
        super::report::status_of(&report.payload).map(ExitStatus::Exited)
    }

    /// Takes the report, if one came.
    ///
    /// # Errors
    ///
    /// If it is not a report with a result of type `R`.
    pub(super) fn take_report<R>(&mut self) -> Option<Result<Report<R>>>
    where
        R: for<'de> serde::Deserialize<'de>,
    {
        let message = self.report.take()?;
        Some(codec::decode(&message.payload, message.handles))
    }

    /// Gives the result up. The channel goes when the child has greeted: until
    /// then it is late, or in time.
    pub(super) fn forget_report(&mut self) {
        self.wanted = false;
        self.drain();
        if self.greeted() {
            self.socket = None;
        }
        self.report = None;
    }
}

/// Sends one message on a channel's end.
pub(super) fn send(socket: std::os::fd::BorrowedFd<'_>, message: &Encoded) -> Result<()> {
    frame::send(socket, &message.bytes, &message.handles, Wait::Forever).map(|_| ())
}

/// Receives one message on a child's end of the channel.
///
/// # Errors
///
/// If the parent is gone.
pub(super) fn recv(socket: std::os::fd::BorrowedFd<'_>) -> Result<Message> {
    frame::recv(socket, Care::Fast, Wait::Forever)?
        .ok_or_else(|| Error::new(ErrorKind::Disconnected, "the parent is gone"))
}

#[cfg(test)]
mod tests {
    use super::{Channel, Encoded, ErrorKind, Greeting, codec, send};
    use std::os::fd::AsFd as _;
    use std::time::{Duration, Instant};

    #[test]
    fn a_child_that_reads_nothing_is_told_no_more_after_the_deadline() {
        let (channel, _child) = Channel::new().unwrap();
        let message = Encoded { bytes: vec![0; 1000], handles: Vec::new() };
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = loop {
            if let Err(error) = channel.send(&message, deadline) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Start, "{error}");
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn a_greeting_is_heard_also_when_the_report_is_not_wanted() {
        let greeting = codec::encode(&Greeting::Started).unwrap();
        let (mut channel, child) = Channel::new().unwrap();
        channel.forget_report();
        channel.drain();
        assert!(!channel.greeted());
        send(child.as_fd(), &greeting).unwrap();
        channel.drain();
        assert!(channel.greeted());
        // Given up; a process that another test starts may hold a copy for a moment.
        assert!(channel.socket.is_none());

        let (mut channel, child) = Channel::new().unwrap();
        send(child.as_fd(), &greeting).unwrap();
        channel.forget_report();
        assert!(channel.greeted());
        assert!(channel.socket.is_none());
    }
}
