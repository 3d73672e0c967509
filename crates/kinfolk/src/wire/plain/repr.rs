//! Plain data as Python writes it.

use std::fmt::{self, Display, Formatter, Write as _};

use super::Plain;

/// As Python's `repr`.
impl Display for Plain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => float(*number, f),
            Self::Text(text) => {
                let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
                quoted(text.chars(), quote, false, f)
            }
            Self::Bytes(bytes) => {
                let quote =
                    if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
                f.write_char('b')?;
                quoted(bytes.iter().map(|byte| char::from(*byte)), quote, true, f)
            }
            Self::List(items) => several("[", items, "]", f),
            Self::Tuple(items) => several("(", items, if items.len() == 1 { ",)" } else { ")" }, f),
            Self::Set(items) if items.is_empty() => f.write_str("set()"),
            Self::Set(items) => several("{", items.iter(), "}", f),
            Self::Dict(dict) => {
                f.write_char('{')?;
                for (place, (key, value)) in dict.iter().enumerate() {
                    let comma = if place > 0 { ", " } else { "" };
                    write!(f, "{comma}{key}: {value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

/// Values with commas between.
fn several<'a>(
    open: &str,
    items: impl IntoIterator<Item = &'a Plain>,
    close: &str,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    f.write_str(open)?;
    for (place, item) in items.into_iter().enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        write!(f, "{comma}{item}")?;
    }
    f.write_str(close)
}

/// Characters in quotes; if they are `ascii`, all others as numbers.
fn quoted(
    characters: impl Iterator<Item = char>,
    quote: char,
    ascii: bool,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    f.write_char(quote)?;
    for character in characters {
        match character {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            _ if character == quote => write!(f, "\\{character}")?,
            _ if character.is_control() || ascii && !character.is_ascii() => {
                write!(f, "\\x{:02x}", u32::from(character))?;
            }
            _ => f.write_char(character)?,
        }
    }
    f.write_char(quote)
}

/// A number, by the fewest digits that name it.
fn float(number: f64, f: &mut Formatter<'_>) -> fmt::Result {
    if number.is_nan() {
        return f.write_str("nan");
    }
    let digits = format!("{number:e}");
    let Some((mantissa, exponent)) = digits.split_once('e') else { return f.write_str(&digits) };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => write!(f, "{number:?}"),
    }
}
