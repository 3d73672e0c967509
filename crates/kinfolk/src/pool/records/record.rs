//! A record: a span or an event of a worker as bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tracing::field::Field;
use tracing::{Level, Metadata};

use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// The largest record, in bytes.
const LARGEST: usize = 16 << 10;
/// The most bytes of text in the values of a record; what is more is cut.
pub(super) const TEXT: usize = 8 << 10;

/// What a worker tells at once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    /// How many records before it there was no room for.
    pub(super) lost: u64,
    /// What it tells.
    pub(super) what: What<'a>,
}

/// What a record tells. Spans have numbers of their worker's; parents are those by which
/// the worker found them, so that no order of entries and exits need be known.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What<'a> {
    /// An event.
    Event {
        /// Where from.
        site: SiteText<'a>,
        /// The span it is in.
        parent: Option<u64>,
        /// The values of its fields.
        values: Values,
    },
    /// A new span.
    Open {
        /// Its number.
        span: u64,
        /// Where from.
        site: SiteText<'a>,
        /// The span it is in.
        parent: Option<u64>,
        /// The values of its fields.
        values: Values,
    },
    /// More values of a span.
    Values {
        /// Its number.
        span: u64,
        /// The values of its fields.
        values: Values,
    },
    /// That a span follows from another.
    Follows {
        /// Its number.
        span: u64,
        /// The number of the other.
        from: u64,
    },
    /// The end of a span.
    Close {
        /// Its number.
        span: u64,
    },
}

/// Values, with the places of their fields.
pub(super) type Values = Vec<(u16, Value)>;

/// The value of a field.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Value {
    /// A signed number.
    I64(i64),
    /// An unsigned number.
    U64(u64),
    /// A large signed number.
    I128(i128),
    /// A large unsigned number.
    U128(u128),
    /// A number with a fraction.
    F64(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// What a value shows of itself.
    Shown(String),
}

/// Where in the program a record comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SiteText<'a> {
    /// Whether it makes spans, or events.
    pub(super) is_span: bool,
    /// The number of its level.
    pub(super) level: u8,
    /// Its name.
    pub(super) name: Cow<'a, str>,
    /// The part of the program.
    pub(super) target: Cow<'a, str>,
    /// The module.
    pub(super) module: Option<Cow<'a, str>>,
    /// The file.
    pub(super) file: Option<Cow<'a, str>>,
    /// The line in it.
    pub(super) line: Option<u32>,
    /// The names of its fields.
    pub(super) fields: Vec<Cow<'a, str>>,
}

impl Record<'_> {
    /// The record as bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if it is larger than the parent takes.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        codec::append_own(self, &mut bytes)?;
        if bytes.len() > LARGEST {
            return Err(Error::new(ErrorKind::TooLong, "a record is too large"));
        }
        Ok(bytes)
    }
}

impl Record<'static> {
    /// The record in these bytes.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        // A small message can announce a large value, but not have it.
        if bytes.len() > LARGEST {
            return Err(Error::new(ErrorKind::TooLong, "a record is too large"));
        }
        codec::decode_own(bytes)
    }
}

impl SiteText<'static> {
    /// Of a callsite of this process.
    pub(super) fn of(metadata: &'static Metadata<'static>) -> Self {
        Self {
            is_span: metadata.is_span(),
            level: number_of(*metadata.level()),
            name: metadata.name().into(),
            target: metadata.target().into(),
            module: metadata.module_path().map(Into::into),
            file: metadata.file().map(Into::into),
            line: metadata.line(),
            fields: metadata.fields().iter().map(|field| Field::name(&field).into()).collect(),
        }
    }
}

/// The number by which a level travels.
pub(super) fn number_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The level of a number.
pub(super) fn level_of(number: u8) -> Option<Level> {
    [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
        .get(usize::from(number).checked_sub(1)?)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, Record, What, level_of, number_of};

    #[test]
    fn a_record_comes_back_and_other_bytes_are_none() {
        let record = Record { lost: 7, what: What::Close { span: 300 } };
        let bytes = record.to_bytes().unwrap();
        let back = Record::from_bytes(&bytes).unwrap();
        assert!(matches!(back, Record { lost: 7, what: What::Close { span: 300 } }));
        for length in 0..bytes.len() {
            assert!(Record::from_bytes(&bytes[..length]).is_err());
        }
        assert!(Record::from_bytes(&vec![0; LARGEST + 1]).is_err());
        // Many values are announced, and there are none.
        assert!(Record::from_bytes(&[0, 2, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }

    #[test]
    fn levels_come_back() {
        for number in 1..=5 {
            assert_eq!(number_of(level_of(number).unwrap()), number);
        }
        assert!(level_of(0).is_none() && level_of(6).is_none());
    }
}
