//! One plain value.

use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::level::{Level, too_deep};
use super::{Dict, Set, from_value, to_value};
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// The name by which the conversions know a value that is plain already.
pub(super) const NAME: &str = "$kinfolk::Plain";

/// A value that is plain data in Python and in Rust.
///
/// Values are equal as in Python: `true`, `1` and `1.0` are; a list and a tuple of the
/// same items are not; sets and dicts are in any order. A NaN is equal to a NaN, as
/// Python's containers find the same one again.
///
/// | Python | here | Rust, by serde |
/// |---|---|---|
/// | `None` | `None` | `()`, unit structs, `Option::None` |
/// | `bool` | `Bool` | `bool` |
/// | `int` | `Int` of up to 128 bits | integers |
/// | `float` | `Float` | `f64`, `f32` |
/// | `str` | `Text` | text, `char`, variants without data |
/// | `bytes`, `bytearray` | `Bytes` | `serde_bytes` |
/// | `list` | `List` | `Vec` and other sequences |
/// | `tuple` | `Tuple` | tuples, arrays, tuple structs |
/// | `dict` | `Dict` | maps, structs by field name, variants with data by their name |
/// | `set`, `frozenset` | `Set` | |
///
/// The way back is more generous: all kinds of sequences are taken for each other, and
/// bytes for a sequence of small integers. It travels inside values by any serializer.
///
/// Values may be 128 deep inside of each other to be converted or to travel; what is
/// deeper is refused, for it could overflow the stack of who reads it.
///
/// ```
/// use kinfolk::Plain;
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Job {
///     name: String,
///     sizes: (u32, Option<u32>),
/// }
///
/// let job = Job { name: "first".to_owned(), sizes: (3, None) };
/// let plain = Plain::from_value(&job)?;
/// let Plain::Dict(dict) = &plain else { panic!("a struct is a dict") };
/// assert_eq!(dict.get(&"sizes".into()), Some(&Plain::Tuple(vec![3.into(), ().into()])));
/// assert_eq!(plain.to_value::<Job>()?, job);
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub enum Plain {
    /// Nothing.
    #[default]
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number. Python's have no limit: larger ones are an error.
    Int(i128),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Plain>),
    /// A tuple.
    Tuple(Vec<Plain>),
    /// A mapping, in the order in which its keys came.
    Dict(Dict),
    /// A set, in the order in which its items came; inside of a set or of a dict's key,
    /// Python's `frozenset`.
    Set(Set),
}

/// The same, for serde.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Plain", rename = "$kinfolk::Plain")]
enum Shape {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    #[serde(with = "serde_bytes")]
    Bytes(Vec<u8>),
    List(Vec<Plain>),
    Tuple(Vec<Plain>),
    Dict(Dict),
    Set(Set),
}

impl Plain {
    /// The plain data that a value is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialize`] if it is none: a number of more than 127 bits and a
    /// sign, a file descriptor, a map with lists or dicts as keys, values too deep
    /// inside of each other, or what its type says.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        from_value::convert(value).map_err(|error| {
            Error::new(ErrorKind::Serialize, format!("the value is not plain data: {error}"))
        })
    }

    /// The value of a Rust type that this data is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if it is of another type.
    pub fn to_value<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        to_value::convert(self).map_err(|error| {
            Error::new(ErrorKind::Deserialize, format!("the data is of another type: {error}"))
        })
    }

    /// Whether it can be in a set, or the key of a dict: lists and dicts cannot.
    #[must_use]
    pub fn is_hashable(&self) -> bool {
        match self {
            Self::List(_) | Self::Dict(_) => false,
            Self::Tuple(items) => items.iter().all(Self::is_hashable),
            _ => true,
        }
    }

    /// What Python calls its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
        }
    }

    /// The number that it is.
    fn number(&self) -> Option<Number> {
        match *self {
            Self::Bool(truth) => Some(Number::Whole(truth.into())),
            Self::Int(number) => Some(Number::Whole(number)),
            Self::Float(number) => Some(Number::from(number)),
            _ => None,
        }
    }
}

impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => a == b,
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }
}

impl Eq for Plain {}

impl Hash for Plain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(number) = self.number() {
            return number.hash(state);
        }
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Text(text) => text.hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
            Self::Tuple(items) | Self::List(items) => items.hash(state),
            Self::Set(items) => items.hash(state),
            // No key of any dict.
            Self::Dict(dict) => dict.len().hash(state),
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) => {}
        }
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(_level) = Level::enter() else {
            codec::note(&too_deep());
            return Err(S::Error::custom(too_deep()));
        };
        Shape::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(_level) = Level::enter() else {
            codec::note(&too_deep());
            return Err(D::Error::custom(too_deep()));
        };
        Shape::deserialize(deserializer)
    }
}

impl From<()> for Plain {
    fn from((): ()) -> Self {
        Self::None
    }
}

/// Makes types plain data.
macro_rules! from {
    ($($rust:ty, $kind:ident;)*) => {$(
        impl From<$rust> for Plain {
            fn from(value: $rust) -> Self {
                Self::$kind(value.into())
            }
        }
    )*};
}

from! {
    bool, Bool;
    i32, Int;
    u32, Int;
    i64, Int;
    u64, Int;
    i128, Int;
    f64, Float;
    &str, Text;
    String, Text;
    &[u8], Bytes;
    Vec<Plain>, List;
    Dict, Dict;
    Set, Set;
}

/// A number, as Python compares them: of whatever type.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Number {
    /// A whole one that an integer here can be.
    Whole(i128),
    /// Any other, by its bits; all NaNs have the same.
    Real(u64),
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        /// The first number that is too large for an integer.
        const END: f64 = -(i128::MIN as f64);
        if number.is_nan() {
            Self::Real(f64::NAN.to_bits())
        } else if number.trunc() == number && (-END..END).contains(&number) {
            Self::Whole(number as i128)
        } else {
            Self::Real(number.to_bits())
        }
    }
}
