//! The path of a unix socket, for as long as somebody listens there.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ConnectionOptions;
use crate::sys::fd;
use crate::sys::fork_guard::{self, PrivateFd};
use crate::sys::stream::{self, Place};
use crate::{Error, ErrorKind, Result};

/// A path that a listener of this process is bound to; dropping it removes it, and comes before
/// the end of its socket.
///
/// A kill leaves the path behind, without a listener: the next bind takes it over. A
/// private folder is removed by the next that is made.
#[derive(Debug)]
pub(super) struct SocketPath {
    /// The path.
    path: PathBuf,
    /// Its device and file number, to know it again.
    file: (u64, u64),
    /// The private folder that it is in, locked: that is the sign of its owner's life.
    folder: Option<PrivateFd>,
    /// Which process is bound: what [`fork_guard::forks`] says there.
    owner: u32,
}

impl SocketPath {
    /// Listens at a path. One whose listener is dead is taken over; that the path is
    /// judged and taken by one process at a time, the lock of its folder sees to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if somebody listens there, or there is something else.
    pub(super) fn bind(path: &Path, options: &ConnectionOptions) -> Result<(Self, PrivateFd)> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let _lock = lock_folder(folder)
            .map_err(|error| failed(error, path))?
            .ok_or_else(|| in_use(path, "others bind in its folder, and do not come to an end"))?;
        match listen(path, options) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                check_stale(path)?;
                fs::remove_file(path).map_err(|error| failed(error, path))?;
                listen(path, options)
            }
            other => other,
        }
        .and_then(|socket| Ok((Self::of(path, None)?, socket)))
        .map_err(|error| failed(error, path))
    }

    /// Listens at a path in a folder of its own, which only this user can look into.
    pub(super) fn private(options: &ConnectionOptions) -> Result<(Self, PrivateFd)> {
        let mut base = std::env::temp_dir();
        if base.as_os_str().len() > LONGEST_BASE {
            base = PathBuf::from("/tmp");
        }
        remove_abandoned(&base);
        let making = |error| Error::io(error, format!("making a private folder in {base:?}"));
        for _ in 0..TRIES {
            let (folder, lock) = match private_folder(&base).map_err(making)? {
                Some(made) => made,
                None => continue,
            };
            let path = folder.join("listener");
            return listen(&path, options)
                .and_then(|socket| Ok((Self::of(&path, Some(lock))?, socket)))
                .map_err(|error| failed(error, &path));
        }
        Err(making(io::ErrorKind::AlreadyExists.into()))
    }

    /// Takes down what is bound.
    fn of(path: &Path, folder: Option<PrivateFd>) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = fs::symlink_metadata(&path)?;
        let file = (file.dev(), file.ino());
        Ok(Self { path, file, folder, owner: fork_guard::forks() })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if self.owner != fork_guard::forks() {
            return;
        }
        let Some(folder) = self.path.parent() else { return };
        if self.folder.is_some() {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir(folder);
            return;
        }
        // Another listener's it can only be if somebody removed it: while this one listens,
        // no bind takes it for a dead one's.
        let same = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds and listens. Nobody can connect before the permissions are right.
fn listen(path: &Path, options: &ConnectionOptions) -> io::Result<PrivateFd> {
    let socket = stream::bind(Place::Unix(path))?;
    let mode = if options.any_user { 0o666 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    stream::listen(socket.as_fd(), options.backlog)?;
    Ok(socket)
}

/// Checks that what is at a path is the socket of a dead listener.
fn check_stale(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(|error| failed(error, path))?;
    if !found.file_type().is_socket() {
        return Err(in_use(path, "there is something that is no socket"));
    }
    match stream::is_listened_to(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(in_use(path, "somebody listens there")),
        Err(error) => Err(failed(error, path)),
    }
}

/// How long others may take to bind in the same folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// Locks a folder until the descriptor is dropped; `None` if others have it for too long. A
/// killed holder loses it, and no fork keeps it.
fn lock_folder(folder: &Path) -> io::Result<Option<PrivateFd>> {
    let lock = PrivateFd::new(File::open(folder)?.into());
    let deadline = Instant::now() + PATIENCE;
    while !fd::try_lock(lock.as_fd())? {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        // Held for the length of a few system calls, unless its holder is stopped.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Some(lock))
}

/// What the names of private folders begin with.
const PREFIX: &str = "kinfolk-";
/// How often a private folder is tried to be made.
const TRIES: usize = 16;
/// The longest temporary folder that leaves room for a socket's path, in bytes.
const LONGEST_BASE: usize = 64;

/// Makes a private folder and locks it; `None` if another process took it for an
/// abandoned one in between.
fn private_folder(base: &Path) -> io::Result<Option<(PathBuf, PrivateFd)>> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let folder = base.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        made => made?,
    }
    let lock = match File::open(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => PrivateFd::new(opened?.into()),
    };
    let kept = fd::try_lock(lock.as_fd()).is_ok_and(|locked| locked)
        && fs::symlink_metadata(&folder).is_ok();
    Ok(kept.then_some((folder, lock)))
}

/// Removes private folders whose owner was killed.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !named || !entry.metadata().is_ok_and(|found| is_own_folder(&found)) {
            continue;
        }
        let folder = entry.path();
        let Ok(lock) = File::open(&folder).map(|file| PrivateFd::new(file.into())) else {
            continue;
        };
        if fd::try_lock(lock.as_fd()).is_ok_and(|locked| locked) {
            let _ = fs::remove_file(folder.join("listener"));
            let _ = fs::remove_dir(&folder);
        }
    }
}

/// Whether this user, and nobody else, can look into a folder.
fn is_own_folder(found: &fs::Metadata) -> bool {
    found.is_dir() && found.uid() == stream::own_uid() && found.mode() & 0o777 == 0o700
}

/// Why a path cannot be had.
fn in_use(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::InUse, format!("cannot listen at {}: {reason}", path.display()))
}

/// What the system said about a path.
fn failed(error: io::Error, path: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidFilename => Error::new(
            ErrorKind::InvalidInput,
            format!("{} is too long for a socket: 107 bytes are the most", path.display()),
        ),
        io::ErrorKind::AddrInUse => in_use(path, "somebody else has taken it"),
        io::ErrorKind::NotFound => Error::new(
            ErrorKind::NotFound,
            format!("cannot listen at {}: its folder is not there", path.display()),
        ),
        _ => Error::io(error, format!("listening at {}", path.display())),
    }
}
