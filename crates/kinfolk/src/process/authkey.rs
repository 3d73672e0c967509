//! The key that the processes of one family share.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// The authentication key of a process.
///
/// The main process makes 32 random bytes in [`init`](crate::init); a child
/// inherits its parent's key through the private channel that starts it, never
/// through its command line or environment. The bytes are wiped on drop,
/// compared in constant time, not printed by `Debug`, and cannot be serialised:
///
/// ```compile_fail
/// let (a, _b) = kinfolk::pipe::<kinfolk::AuthKey, ()>().unwrap();
/// a.send(&kinfolk::current_process().authkey()).unwrap();
/// ```
#[derive(Clone)]
#[doc(alias = "AuthenticationString")]
pub struct AuthKey(Zeroizing<Vec<u8>>);

impl AuthKey {
    /// Makes a key of 32 random bytes.
    ///
    /// # Errors
    ///
    /// If the system gives no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; 32]);
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::io(std::io::Error::other(error.to_string()), "making an authentication key")
        })?;
        Ok(Self(bytes))
    }

    /// Makes a key of the given bytes, for a family that agreed on them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The secret bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for AuthKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for AuthKey {}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::AuthKey;

    #[test]
    fn random_keys_have_32_bytes_and_differ() {
        let (a, b) = (AuthKey::random().unwrap(), AuthKey::random().unwrap());
        assert_eq!(a.as_bytes().len(), 32);
        assert_ne!(a, b);
        assert_eq!(a, AuthKey::from_bytes(a.as_bytes()));
    }

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", AuthKey::from_bytes(b"secret")), "AuthKey(..)");
    }
}
