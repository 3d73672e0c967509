//! What a child is told before it begins: the first message on its channel.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::context::StartMethod;
use super::function::Function;
use crate::sys::{self, surroundings};
use crate::wire::handle::Handle;
use crate::{Error, Result};

/// All that a child is told; a large argument follows.
#[derive(Serialize, Deserialize)]
pub(super) struct Preparation {
    /// Its name.
    pub(super) name: String,
    /// Its path of ordinals from the main process.
    pub(super) path: Vec<u32>,
    /// Whether it is ended when its parent exits.
    pub(super) daemon: bool,
    /// Its authentication key.
    pub(super) authkey: Zeroizing<Vec<u8>>,
    /// The name of its parent.
    pub(super) parent_name: String,
    /// The process id of its parent.
    pub(super) parent_pid: u32,
    /// For one that goes on when its parent ends: the parent's end of its lifeline,
    /// which holds until it has taken itself off it.
    pub(super) outlive: Option<Handle<OwnedFd>>,
    /// Whether it adopts its orphaned descendants.
    pub(super) subreaper: bool,
    /// The level of `log_to_stderr`.
    pub(super) log_level: u8,
    /// The start method that the program chose, if it did.
    pub(super) start_method: Option<StartMethod>,
    /// What it must take over, where its start did not do it.
    pub(super) surroundings: Surroundings,
    /// What it calls; `None` for a closure that a fork carries.
    pub(super) function: Option<Function>,
    /// What it calls it with, if that is small: a message less to wait for.
    pub(super) argument: Option<Argument>,
}

/// An encoded argument.
#[derive(Serialize, Deserialize)]
pub(super) struct Argument {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// The descriptors in it.
    pub(super) handles: Vec<Handle<OwnedFd>>,
}

impl Argument {
    /// The most bytes of one that goes with the preparation.
    pub(super) const SMALL: usize = 1024;
    /// The most descriptors of one that goes with the preparation.
    pub(super) const FEW: usize = 100;
}

/// What a child takes over; empty where its start already did it.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Surroundings {
    /// The working directory.
    pub(super) cwd: Option<Handle<OwnedFd>>,
    /// Standard input, output and error: keep, or replace (by nothing: close).
    pub(super) stdio: Option<[Option<Handle<OwnedFd>>; 3]>,
    /// Whether the file creation mask follows, and with it the word to begin: a
    /// parent finds it out while its child does the rest.
    pub(super) umask_follows: bool,
    /// The whole environment.
    pub(super) environment: Option<Environment>,
    /// The signal mask of the thread that started it.
    pub(super) signal_mask: Option<u64>,
    /// The processors of the thread that started it.
    pub(super) affinity: Option<Vec<u8>>,
}

impl Surroundings {
    /// Takes over what is listed. The environment is the caller's to set.
    ///
    /// # Errors
    ///
    /// If the system refuses, with what it refused.
    pub(super) fn apply(&mut self) -> Result<()> {
        let context = |what: &'static str| move |error| Error::io(error, what);
        if let Some(cwd) = self.cwd.take() {
            surroundings::apply_cwd(cwd.as_fd())
                .map_err(context("entering the working directory"))?;
        }
        if let Some(affinity) = &self.affinity {
            sys::process::set_affinity(affinity).map_err(context("choosing the processors"))?;
        }
        if let Some(stdio) = self.stdio.take() {
            surroundings::replace_stdio(stdio.map(|end| end.map(Handle::into_inner)))
                .map_err(context("replacing the standard streams"))?;
        }
        if let Some(mask) = self.signal_mask {
            sys::process::set_signal_mask(mask).map_err(context("setting the signal mask"))?;
        }
        Ok(())
    }
}

/// An environment: names and values as the system has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Environment(Vec<(Vec<u8>, Vec<u8>)>);

impl Environment {
    /// The environment of this process.
    pub(super) fn current() -> Self {
        Self(std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect())
    }

    /// An environment without variables.
    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, name: OsString, value: OsString) {
        self.remove(&name);
        self.0.push((name.into_vec(), value.into_vec()));
    }

    /// Removes a variable.
    pub(super) fn remove(&mut self, name: &std::ffi::OsStr) {
        self.0.retain(|(known, _)| known != name.as_bytes());
    }

    /// The variables.
    pub(super) fn into_variables(self) -> impl Iterator<Item = (OsString, OsString)> {
        self.0
            .into_iter()
            .map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value)))
    }

    /// The variables as `name=value`, for `execve`; one with a zero byte cannot exist there.
    pub(super) fn to_strings(&self) -> Vec<std::ffi::CString> {
        self.0
            .iter()
            .filter_map(|(name, value)| {
                std::ffi::CString::new([name, &b"="[..], value].concat()).ok()
            })
            .collect()
    }
}
