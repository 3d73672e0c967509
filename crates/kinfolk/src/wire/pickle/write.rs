//! Pickles of protocol 4, which each Python from 3.4 on reads.

use super::globals::Class;
use super::object::{Exception, Object, Token};
use crate::wire::plain::{MAX_DEPTH, Plain, too_deep};
use crate::{Error, ErrorKind, Result};

/// Encodes an object.
///
/// # Errors
///
/// [`ErrorKind::Serialize`] if values in it are too deep inside of each other.
pub(crate) fn write(object: &Object) -> Result<Vec<u8>> {
    let mut writer = Writer { out: vec![0x80, 4] };
    writer.object(object, 1)?;
    writer.out.push(b'.');
    Ok(writer.out)
}

/// Writes the steps that make a value.
struct Writer {
    /// The steps.
    out: Vec<u8>,
}

impl Writer {
    /// An object.
    fn object(&mut self, object: &Object, depth: usize) -> Result<()> {
        match object {
            Object::Plain(plain) => self.plain(plain, depth, Sets::Change),
            Object::Tuple(items) => {
                check(depth)?;
                self.tuple(items.len(), |writer| {
                    items.iter().try_for_each(|item| writer.object(item, depth + 1))
                })
            }
            Object::Exception(Exception { class, args }) => {
                self.global(*class);
                self.tuple(args.len(), |writer| {
                    args.iter().try_for_each(|arg| writer.plain(arg, depth + 2, Sets::Change))
                })?;
                self.out.push(b'R');
                Ok(())
            }
            Object::Slice(parts) => {
                self.global(Class { module: "builtins", name: "slice" });
                self.tuple(parts.len(), |writer| {
                    parts.iter().try_for_each(|part| writer.plain(part, depth + 2, Sets::Change))
                })?;
                self.out.push(b'R');
                Ok(())
            }
            Object::Token(Token { typeid, address, id }) => {
                self.global(Class { module: "multiprocessing.managers", name: "Token" });
                self.out.extend_from_slice(b")\x81");
                self.tuple(3, |writer| {
                    writer.text(typeid);
                    writer.plain(address, depth + 2, Sets::Change)?;
                    writer.text(id);
                    Ok(())
                })?;
                self.out.push(b'b');
                Ok(())
            }
        }
    }

    /// Plain data.
    fn plain(&mut self, plain: &Plain, depth: usize, sets: Sets) -> Result<()> {
        check(depth)?;
        match plain {
            Plain::None => self.out.push(b'N'),
            Plain::Bool(true) => self.out.push(0x88),
            Plain::Bool(false) => self.out.push(0x89),
            Plain::Int(number) => self.int(*number),
            Plain::Float(number) => {
                self.out.push(b'G');
                self.out.extend_from_slice(&number.to_be_bytes());
            }
            Plain::Text(text) => self.text(text),
            Plain::Bytes(bytes) => self.sized([b'C', b'B', 0x8e], bytes),
            Plain::List(items) => {
                self.out.push(b']');
                if !items.is_empty() {
                    self.out.push(b'(');
                    self.items(items.iter(), depth + 1, Sets::Change)?;
                    self.out.push(b'e');
                }
            }
            Plain::Tuple(items) => {
                self.tuple(items.len(), |writer| writer.items(items.iter(), depth + 1, sets))?;
            }
            Plain::Dict(dict) => {
                self.out.push(b'}');
                if !dict.is_empty() {
                    self.out.push(b'(');
                    for (key, value) in dict.iter() {
                        self.plain(key, depth + 1, Sets::Freeze)?;
                        self.plain(value, depth + 1, Sets::Change)?;
                    }
                    self.out.push(b'u');
                }
            }
            Plain::Set(items) => {
                let end = match sets {
                    Sets::Change => {
                        self.out.push(0x8f);
                        0x90
                    }
                    Sets::Freeze => 0x91,
                };
                self.out.push(b'(');
                self.items(items.iter(), depth + 1, Sets::Freeze)?;
                self.out.push(end);
            }
        }
        Ok(())
    }

    /// Values one after the other.
    fn items<'a>(
        &mut self,
        mut items: impl Iterator<Item = &'a Plain>,
        depth: usize,
        sets: Sets,
    ) -> Result<()> {
        items.try_for_each(|item| self.plain(item, depth, sets))
    }

    /// A tuple of so many values, which `items` writes.
    fn tuple(&mut self, count: usize, items: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if count > 3 {
            self.out.push(b'(');
        }
        items(self)?;
        self.out.push(match count {
            0 => b')',
            1 => 0x85,
            2 => 0x86,
            3 => 0x87,
            _ => b't',
        });
        Ok(())
    }

    /// A whole number.
    fn int(&mut self, number: i128) {
        if let Ok(number) = u8::try_from(number) {
            self.out.extend_from_slice(&[b'K', number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.out.push(b'M');
            self.out.extend_from_slice(&number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.out.push(b'J');
            self.out.extend_from_slice(&number.to_le_bytes());
        } else {
            let bytes = number.to_le_bytes();
            self.out.extend_from_slice(&[0x8a, 16]);
            self.out.extend_from_slice(&bytes);
        }
    }

    /// Text.
    fn text(&mut self, text: &str) {
        self.sized([0x8c, b'X', 0x8d], text.as_bytes());
    }

    /// Bytes behind their length, by the step for lengths of one, four or eight bytes.
    fn sized(&mut self, steps: [u8; 3], bytes: &[u8]) {
        if let Ok(length) = u8::try_from(bytes.len()) {
            self.out.extend_from_slice(&[steps[0], length]);
        } else if let Ok(length) = u32::try_from(bytes.len()) {
            self.out.push(steps[1]);
            self.out.extend_from_slice(&length.to_le_bytes());
        } else {
            self.out.push(steps[2]);
            self.out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        }
        self.out.extend_from_slice(bytes);
    }

    /// A name.
    fn global(&mut self, class: Class) {
        self.text(class.module);
        self.text(class.name);
        self.out.push(0x93);
    }
}

/// Which kind of Python's a set is.
#[derive(Debug, Clone, Copy)]
enum Sets {
    /// A `set`.
    Change,
    /// A `frozenset`: it is in a key, or in another set.
    Freeze,
}

/// Whether a value is not too deep.
fn check(depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::Serialize, format!("not serialised: {}", too_deep())));
    }
    Ok(())
}
