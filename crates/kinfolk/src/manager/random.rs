//! Numbers that nobody can guess.

use crate::{Error, ErrorKind, Result};

/// Random bytes.
///
/// # Errors
///
/// If the system gives none.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::System, format!("no random bytes: {error}")))?;
    Ok(bytes)
}
