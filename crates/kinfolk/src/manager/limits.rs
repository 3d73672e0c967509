//! What a manager allows, and how it is reached: for the process that it runs in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AuthKey, ConnectionOptions};

/// The most of what a manager has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Limits {
    /// The longest message, in bytes.
    pub(super) message: usize,
    /// Objects.
    pub(super) objects: usize,
    /// Connections.
    pub(super) connections: usize,
    /// How long a client may take to say who it is.
    pub(super) hello: Duration,
    /// Whether clients may have pools, whose workers call what they name.
    pub(super) pools: bool,
    /// The stack of a thread that serves a connection, in bytes.
    pub(super) stack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 64 << 20,
            objects: 100_000,
            connections: 4096,
            hello: Duration::from_secs(20),
            pools: false,
            stack: 1 << 20,
        }
    }
}

/// How a manager is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Access {
    /// Where it listens, as text; `None` for a place of its own.
    pub(super) address: Option<String>,
    /// Whether MD5 will do.
    pub(super) legacy: bool,
    /// Whether TCP is not encrypted.
    pub(super) plain: bool,
    /// Whether other users may connect.
    pub(super) any_user: bool,
    /// How long a TCP peer may be silent, if that is chosen.
    pub(super) silence: Option<Duration>,
}

impl Access {
    /// The options of its listener, and of the clients of the process that started it. `key`
    /// is another key than the process's.
    pub(super) fn options(&self, key: Option<&AuthKey>, limits: &Limits) -> ConnectionOptions {
        let pending = limits.connections.clamp(128, 4096);
        let mut options = ConnectionOptions::new()
            .max_message(limits.message.max(1 << 16))
            .max_pending(pending)
            .backlog(u32::try_from(pending).unwrap_or(u32::MAX));
        if let Some(key) = key {
            options = options.authkey(key.clone());
        }
        if self.legacy {
            options = options.legacy();
        }
        if self.plain {
            options = options.plain();
        }
        if self.any_user {
            options = options.any_user();
        }
        match self.silence {
            Some(silence) => options.keep_alive(silence),
            None => options,
        }
    }
}
