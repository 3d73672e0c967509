//! What the ready-made classes have in common.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::manager::caller::Session;
use crate::manager::classes::Class;
use crate::manager::object::{Call, Object};
use crate::wire::codec;
use crate::{Plain, Result};

/// A ready-made class.
pub(crate) trait Ready: Send + Sync + Sized + 'static {
    /// Its name.
    const CLASS: &'static str;

    /// What an object is made of.
    type Arguments: DeserializeOwned;

    /// Makes an object.
    fn make(arguments: Self::Arguments) -> Result<Self>;

    /// Does what a call asks for, and has it answer.
    fn call(&self, call: &mut Call<'_>) -> Result<()>;

    /// A client has ended: what it holds of this object is given up.
    fn give_up(&self, _session: &Session) {}
}

impl<T: Ready> Object for T {
    fn class(&self) -> &'static str {
        T::CLASS
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(T::CLASS)
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        Ready::call(self, call)
    }

    fn give_up(&self, session: &Session) {
        Ready::give_up(self, session);
    }
}

/// A class as the server knows it.
pub(super) const fn class<T: Ready>() -> Class {
    Class { name: T::CLASS, fingerprint: fingerprint(T::CLASS), make: make::<T> }
}

/// Makes an object of encoded arguments.
fn make<T: Ready>(arguments: &[u8]) -> Result<Arc<dyn Object>> {
    Ok(Arc::new(T::make(codec::decode_own(arguments)?)?))
}

/// The number of a ready-made class (FNV-1a, 64 bits): its name, as its methods belong to the
/// version of the protocol.
pub(crate) const fn fingerprint(class: &str) -> u64 {
    let bytes = class.as_bytes();
    let (mut hash, mut place) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while place < bytes.len() {
        hash = (hash ^ bytes[place] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        place += 1;
    }
    hash
}

/// The values of a sequence of plain data.
pub(super) fn values<T: DeserializeOwned>(plain: &[Plain]) -> Result<Vec<T>> {
    plain.iter().map(Plain::to_value).collect()
}

/// A sequence of values as plain data.
pub(in crate::manager) fn plain<'a, T: Serialize + 'a>(
    values: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<Plain>> {
    values.into_iter().map(Plain::from_value).collect()
}

/// Makes the proxy of a ready-made class.
macro_rules! proxy {
    ($(#[$attribute:meta])* $name:ident $(<$($type:ident),+>)? of $object:ty) => {
        $(#[$attribute])*
        pub struct $name $(<$($type),+>)? {
            /// The object.
            reference: $crate::manager::Reference,
            /// The types of its values.
            types: std::marker::PhantomData<fn() -> ($($($type,)+)?)>,
        }

        impl $(<$($type),+>)? $crate::manager::Proxy for $name $(<$($type),+>)? {
            const CLASS: &'static str =
                <$object as $crate::manager::objects::ready::Ready>::CLASS;
            const FINGERPRINT: u64 =
                $crate::manager::objects::ready::fingerprint(Self::CLASS);

            fn from_reference(reference: $crate::manager::Reference) -> Self {
                Self { reference, types: std::marker::PhantomData }
            }

            fn reference(&self) -> &$crate::manager::Reference {
                &self.reference
            }
        }

        impl $(<$($type),+>)? Clone for $name $(<$($type),+>)? {
            fn clone(&self) -> Self {
                $crate::manager::Proxy::from_reference(self.reference.clone())
            }
        }

        impl $(<$($type),+>)? std::fmt::Debug for $name $(<$($type),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.reference).finish()
            }
        }

        impl $(<$($type),+>)? serde::Serialize for $name $(<$($type),+>)? {
            fn serialize<Z: serde::Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.reference.serialize(serializer)
            }
        }

        impl<'de $($(, $type)+)?> serde::Deserialize<'de> for $name $(<$($type),+>)? {
            fn deserialize<Z: serde::Deserializer<'de>>(deserializer: Z) -> Result<Self, Z::Error> {
                $crate::manager::deserialize(deserializer)
            }
        }
    };
}
pub(super) use proxy;
