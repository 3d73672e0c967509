//! The bytes of a pickle, and what they say.

use super::object::wrong;
use crate::{Error, Result};

/// The bytes that are not read yet.
pub(super) struct Input<'a> {
    /// They.
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All bytes.
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next bytes of the program.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(ends)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The next few bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ends)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// A length of four bytes.
    pub(super) fn length4(&mut self) -> Result<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| ends())
    }

    /// A length of eight bytes.
    pub(super) fn length8(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| ends())
    }

    /// The bytes up to the end of the line.
    pub(super) fn line(&mut self) -> Result<&'a [u8]> {
        let length = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(ends)?;
        let line = self.take(length)?;
        self.take(1)?;
        Ok(line)
    }
}

/// A whole number in decimal.
pub(super) fn decimal(digits: &[u8]) -> Result<i128> {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("a whole number is not one, or is of more than 128 bits"))
}

/// Text in which `\u` and `\U` stand before a character's number.
pub(super) fn unescape(line: &[u8]) -> Result<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let digits = match (first, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(*first));
                continue;
            }
        };
        let number = after.get(1..=digits).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = number.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let character = number.and_then(char::from_u32);
        text.push(character.ok_or_else(|| wrong("text has what is no character in it"))?);
        rest = &after[digits + 1..];
    }
    Ok(text)
}

/// Bytes that are too few.
pub(super) fn ends() -> Error {
    wrong("it ends too early")
}
