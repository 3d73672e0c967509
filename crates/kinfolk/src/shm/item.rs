//! An item of a list, and how it is packed.

use crate::{Error, ErrorKind, Result};

/// The least room of an item, in bytes, and what all room is a multiple of.
const WORD: usize = 8;
/// The most bytes that a format can name: it has eight characters.
const MOST: usize = 9_999_999;
/// The most bytes of an item that can be created: its room is more than it needs.
const LONGEST: usize = MOST / WORD * WORD - 1;
/// The most bytes whose exact number a format can name.
const MOST_EXACT: usize = 999_999;

/// An item of a [`ShareableList`](crate::ShareableList): what Python has as `None`,
/// `bool`, `int` of 64 bits, `float`, `str` and `bytes`.
///
/// Items of different kinds are never equal: not `Int(1)` and `Float(1.0)`, nor
/// `Int(1)` and `Bool(true)`.
#[derive(Debug, Clone, PartialEq)]
pub enum ListItem {
    /// Nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl ListItem {
    /// The room that the item is given in a new list, as the reference does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is too long.
    pub(super) fn room(&self) -> Result<usize> {
        let length = self.content().map_or(0, <[u8]>::len);
        if length > LONGEST {
            let reason = format!("an item of {length} bytes, where a list takes {LONGEST}");
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        Ok(WORD * (length / WORD + 1))
    }

    /// Its bytes, if it is text or bytes.
    fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The item as it is in memory, in `room` bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is not enough room.
    pub(super) fn pack(&self, room: usize) -> Result<(Packing, Vec<u8>)> {
        let least = self.content().map_or(WORD, <[u8]>::len);
        if least > room {
            let reason = format!("an item of {least} bytes in a place that has {room} for it");
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        let word = |kind, word: [u8; WORD]| (Packing { kind, length: WORD }, word.to_vec());
        Ok(match self {
            Self::None => word(Kind::None, [0; WORD]),
            Self::Bool(value) => word(Kind::Bool, [0, 0, 0, 0, 0, 0, 0, u8::from(*value)]),
            Self::Int(value) => word(Kind::Int, value.to_ne_bytes()),
            Self::Float(value) => word(Kind::Float, value.to_ne_bytes()),
            Self::Text(text) => pack_bytes(Content::Text, text.as_bytes(), room)?,
            Self::Bytes(bytes) => pack_bytes(Content::Bytes, bytes, room)?,
        })
    }
}

impl From<()> for ListItem {
    fn from((): ()) -> Self {
        Self::None
    }
}

/// Makes types items.
macro_rules! from {
    ($($plain:ty, $kind:ident;)*) => {$(
        impl From<$plain> for ListItem {
            fn from(value: $plain) -> Self {
                Self::$kind(value.into())
            }
        }
    )*};
}

from! {
    bool, Bool;
    i32, Int;
    i64, Int;
    f64, Float;
    &str, Text;
    String, Text;
    &[u8], Bytes;
    Vec<u8>, Bytes;
}

/// How an item is packed: a format of Python's `struct`, and a number that says
/// what the reference makes of it.
///
/// | format | number | item |
/// |---|---|---|
/// | `q` | 0 | a whole number |
/// | `d` | 0 | a number |
/// | `xxxxxxx?` | 0 | a truth value |
/// | `xxxxxx?x` | 3 | nothing |
/// | *n*`s` | 1, 2 | text or bytes: *n* bytes without the NULs that they end in |
/// | *n*`sx` | 1, 2 | text or bytes: *n* bytes |
/// | any | 255 | one that is being changed, or was when its changer was killed |
///
/// The reference writes no *n*`sx`, but reads it: as *n* bytes and a pad, which it
/// leaves out, and then it strips NULs. When it changes such an item, it takes all
/// the room, because the format does not end in `s`: with *n* below the room, and
/// no pad, it would cut what it writes to *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    /// What it is.
    kind: Kind,
    /// The number of its bytes.
    length: usize,
}

/// The number of an item that is being changed.
pub(super) const CHANGING: u8 = 255;

/// The kinds of packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `q`.
    Int,
    /// `d`.
    Float,
    /// `xxxxxxx?`.
    Bool,
    /// `xxxxxx?x`.
    None,
    /// *n*`s`.
    Padded(Content),
    /// *n*`sx`.
    Exact(Content),
}

/// What bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

impl Packing {
    /// Understands a format, with NULs after it, and a number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if they are none of the table.
    pub(super) fn parse(format: [u8; 8], code: u8) -> Result<Self> {
        if code == CHANGING {
            return Err(wrong("it is being changed, or who changed it was killed"));
        }
        let unknown = || {
            let format = text_of(&format).escape_ascii().to_string();
            wrong(&format!("it has the unknown format {format:?} with the number {code}"))
        };
        let (kind, length) = match (text_of(&format), code) {
            (b"q", 0) => (Kind::Int, WORD),
            (b"d", 0) => (Kind::Float, WORD),
            (b"xxxxxxx?", 0) => (Kind::Bool, WORD),
            (b"xxxxxx?x", 3) => (Kind::None, WORD),
            (format, 1 | 2) => {
                let content = if code == 1 { Content::Text } else { Content::Bytes };
                let (number, kind) = if let Some(number) = format.strip_suffix(b"sx") {
                    (number, Kind::Exact(content))
                } else {
                    (format.strip_suffix(b"s").ok_or_else(unknown)?, Kind::Padded(content))
                };
                (kind, decimal(number).ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        };
        Ok(Self { kind, length })
    }

    /// The number of bytes of an item that is packed so.
    pub(super) fn len(self) -> usize {
        self.length
    }

    /// The format, with NULs after it.
    pub(super) fn format(self) -> [u8; 8] {
        let text = match self.kind {
            Kind::Int => "q".to_owned(),
            Kind::Float => "d".to_owned(),
            Kind::Bool => "xxxxxxx?".to_owned(),
            Kind::None => "xxxxxx?x".to_owned(),
            Kind::Padded(_) => format!("{}s", self.length),
            Kind::Exact(_) => format!("{}sx", self.length),
        };
        let mut format = [0; 8];
        // It fits, as numbers are limited.
        for (to, from) in format.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        format
    }

    /// The number that stands for what the reference makes of it.
    pub(super) fn code(self) -> u8 {
        match self.kind {
            Kind::Int | Kind::Float | Kind::Bool => 0,
            Kind::Padded(Content::Text) | Kind::Exact(Content::Text) => 1,
            Kind::Padded(Content::Bytes) | Kind::Exact(Content::Bytes) => 2,
            Kind::None => 3,
        }
    }

    /// The item of these bytes, of which there are as many as it has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if text is not UTF-8.
    pub(super) fn unpack(self, mut bytes: Vec<u8>) -> Result<ListItem> {
        let word = || bytes.first_chunk().copied().ok_or_else(|| wrong("it has no eight bytes"));
        let content = match self.kind {
            Kind::Int => return Ok(ListItem::Int(i64::from_ne_bytes(word()?))),
            Kind::Float => return Ok(ListItem::Float(f64::from_ne_bytes(word()?))),
            Kind::Bool => return Ok(ListItem::Bool(word()?[WORD - 1] != 0)),
            Kind::None => return Ok(ListItem::None),
            Kind::Padded(content) => {
                bytes.truncate(text_of(&bytes).len());
                content
            }
            Kind::Exact(content) => content,
        };
        match content {
            Content::Text => String::from_utf8(bytes)
                .map(ListItem::Text)
                .map_err(|error| wrong(&format!("its text is not UTF-8: {error}"))),
            Content::Bytes => Ok(ListItem::Bytes(bytes)),
        }
    }
}

/// Packs text or bytes that fit.
fn pack_bytes(content: Content, bytes: &[u8], room: usize) -> Result<(Packing, Vec<u8>)> {
    if bytes.last() == Some(&0) {
        if bytes.len() > MOST_EXACT {
            let reason = format!(
                "an item of {} bytes that ends in NUL, where a list takes {MOST_EXACT} such bytes",
                bytes.len()
            );
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        let packing = Packing { kind: Kind::Exact(content), length: bytes.len() };
        return Ok((packing, bytes.to_vec()));
    }
    let room = room.min(MOST);
    if bytes.len() > room {
        let reason = format!("an item of {} bytes, where a list takes {MOST}", bytes.len());
        return Err(Error::new(ErrorKind::InvalidInput, reason));
    }
    let mut padded = vec![0; room];
    padded[..bytes.len()].copy_from_slice(bytes);
    Ok((Packing { kind: Kind::Padded(content), length: room }, padded))
}

/// What is before the NULs at the end.
fn text_of(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// A number in decimal digits alone.
fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// An item is not what it should be.
pub(super) fn wrong(reason: &str) -> Error {
    Error::new(ErrorKind::Deserialize, format!("an item of a shareable list is wrong: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::{CHANGING, ListItem, MOST_EXACT, Packing};
    use crate::ErrorKind;

    #[test]
    fn each_item_comes_back_from_its_packing_in_any_room() {
        let items: Vec<ListItem> = vec![
            ().into(),
            true.into(),
            false.into(),
            i64::MIN.into(),
            (-0.5).into(),
            "".into(),
            "gr\u{fc}n".into(),
            "ends in NUL\0".into(),
            b"\0\0\0\0\0\0\0\0".as_slice().into(),
            b"12345678".as_slice().into(),
            vec![255_u8; 1000].into(),
        ];
        for item in items {
            let least = item.content().map_or(8, <[u8]>::len);
            for room in [least, item.room().unwrap(), least + 1000] {
                let (packing, bytes) = item.pack(room).unwrap();
                assert!(bytes.len() <= room);
                let again = Packing::parse(packing.format(), packing.code()).unwrap();
                assert_eq!((again, again.len()), (packing, bytes.len()));
                assert_eq!(again.unpack(bytes).unwrap(), item);
            }
            if least > 0 {
                assert_eq!(item.pack(least - 1).unwrap_err().kind(), ErrorKind::InvalidInput);
            }
        }
    }

    #[test]
    fn what_no_format_can_say_is_refused_and_not_cut() {
        let longest = ListItem::Bytes(vec![1; 9_999_991]);
        let room = longest.room().unwrap();
        assert_eq!(room, 9_999_992);
        let (packing, bytes) = longest.pack(room).unwrap();
        assert_eq!(packing.format(), *b"9999992s");
        assert_eq!(packing.unpack(bytes).unwrap(), longest);
        let longer = ListItem::Bytes(vec![1; 9_999_992]);
        assert_eq!(longer.room().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(ListItem::Bytes(vec![1; 10_000_000]).pack(20_000_000).is_err());
        let exact = ListItem::Bytes(vec![0; MOST_EXACT]);
        assert_eq!(exact.pack(1_000_000).unwrap().0.format(), *b"999999sx");
        let more = ListItem::Bytes(vec![0; MOST_EXACT + 1]);
        assert_eq!(more.pack(1_000_008).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn unknown_formats_are_errors() {
        let wrong: [(&[u8], u8); 12] = [
            (b"", 0),
            (b"q", 1),
            (b"q", 3),
            (b"i", 0),
            (b"s", 1),
            (b"-8s", 1),
            (b"+8s", 2),
            (b"8sxx", 2),
            (b"8\0s", 2),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", 1),
            (b"8s", 4),
            (b"8s", CHANGING),
        ];
        for (text, code) in wrong {
            let mut format = [0; 8];
            format[..text.len()].copy_from_slice(text);
            let error = Packing::parse(format, code).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Deserialize, "{text:?} {code}");
        }
    }
}
