//! Small values as bytes at the least cost: each number in as many bytes as it has in
//! memory, little-endian, and nothing between them.
//!
//! postcard writes a number in as few bytes as will do, which takes ten times as long.
//! Here are numbers and what is made of a fixed number of them: tuples, structures,
//! enumerations and options. All else is refused, and postcard's.

mod reader;
mod writer;

use std::fmt;

use serde::{Deserialize, Serialize, de, ser};

use reader::Reader;
use writer::Writer;

/// Writes a value to the beginning of `room`, and returns its length; `None` if there
/// is no room for it, or it is not such a value.
#[inline]
pub(super) fn write<T: Serialize>(value: &T, room: &mut [u8]) -> Option<usize> {
    let all = room.len();
    let mut writer = Writer { room };
    value.serialize(&mut writer).ok()?;
    Some(all - writer.room.len())
}

/// Reads a value; `None` if the bytes are not exactly one of this type.
#[inline]
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let mut reader = Reader { bytes };
    let value = T::deserialize(&mut reader).ok()?;
    reader.bytes.is_empty().then_some(value)
}

/// That a value is not written or read here.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a value of fixed size")
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use super::{read, write};

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Nothing,
        Circle(f64),
        Box(i16, i16),
        Named { label: char, big: bool },
    }

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    struct Meters(u128);

    /// A value comes back, is not read from less or more, and has this length.
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, length: usize) {
        let mut room = [7; 64];
        assert_eq!(write(&value, &mut room), Some(length), "{value:?}");
        assert_eq!(read::<T>(&room[..length]).as_ref(), Some(&value));
        assert_eq!(read::<T>(&room[..=length]), None, "{value:?} and a byte");
        for less in 0..length {
            assert_eq!(read::<T>(&room[..less]), None, "{less} bytes of {value:?}");
            assert_eq!(write(&value, &mut room[..less]), None, "{value:?} in {less} bytes");
        }
    }

    #[test]
    fn values_of_fixed_size_come_back() {
        check((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN), 31);
        check((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX), 31);
        check((f32::MIN, f64::MAX, true, 'ß', ()), 17);
        check([Some(Shape::Nothing), None], 6);
        check((Shape::Circle(0.5), Shape::Box(-1, 2)), 20);
        check(Shape::Named { label: 'x', big: false }, 9);
        check((Unit, Meters(1 << 100)), 16);
        check((Duration::new(3, 4), Ipv4Addr::LOCALHOST), 16);
    }

    #[test]
    fn what_has_no_fixed_size_is_refused() {
        let mut room = [0; 64];
        assert_eq!(write(&"text", &mut room), None);
        assert_eq!(write(&[1][..].to_vec(), &mut room), None);
        assert_eq!(write(&Some((1, "text")), &mut room), None);
        assert_eq!(read::<String>(&room), None);
        assert_eq!(read::<Vec<u8>>(&room), None);
    }

    #[test]
    fn what_is_no_such_value_is_refused() {
        assert_eq!(read::<bool>(&[2]), None);
        assert_eq!(read::<Option<()>>(&[2]), None);
        assert_eq!(read::<char>(&0xd800_u32.to_le_bytes()), None);
        assert_eq!(read::<Shape>(&4_u32.to_le_bytes()), None);
        assert_eq!(read::<std::num::NonZeroU8>(&[0]), None);
    }
}
