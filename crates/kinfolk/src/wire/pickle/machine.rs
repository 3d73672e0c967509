//! The machine whose program a pickle is.

use std::borrow::Cow;
use std::collections::HashMap;

use super::globals::Global;
use super::input::{Input, decimal, ends, unescape};
use super::object::{no_call, wrong};
use crate::Result;

/// The place of a node.
pub(super) type Id = u32;

/// A value, by the places of those that are in it. What it takes is in proportion to
/// the bytes that made it.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// The pairs of a dict.
    Dict(Vec<(Id, Id)>),
    /// The items of a set.
    Set(Vec<Id>),
    /// A name.
    Global(Global),
    /// What a call makes of a tuple of arguments.
    Call(Global, Id),
    /// A manager's token, by its state, which comes later.
    Token(Option<Id>),
}

/// What a pickle builds.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    /// The values.
    pub(super) nodes: Vec<Node<'a>>,
    /// The one that the pickle is of.
    pub(super) root: Id,
}

/// Runs a pickle.
///
/// # Errors
///
/// [`ErrorKind::Deserialize`](crate::ErrorKind::Deserialize) if it is none, or needs
/// what is not known here.
pub(super) fn run(bytes: &[u8]) -> Result<Graph<'_>> {
    let mut machine = Machine {
        input: Input::new(bytes),
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while machine.step()? {}
    let root = machine.pop()?;
    if machine.input.len() > 0 {
        return Err(wrong(&format!("{} bytes follow its end", machine.input.len())));
    }
    Ok(Graph { nodes: machine.nodes, root })
}

/// The machine.
struct Machine<'a> {
    /// The rest of the program.
    input: Input<'a>,
    /// All values.
    nodes: Vec<Node<'a>>,
    /// Those at work.
    stack: Vec<Id>,
    /// Places on the stack below which nothing is taken.
    marks: Vec<usize>,
    /// Those that may be used again.
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Does one step; `false` if it was the last.
    fn step(&mut self) -> Result<bool> {
        match self.input.byte()? {
            b'.' => return Ok(false),
            // PROTO and FRAME.
            0x80 => match self.input.byte()? {
                0..=5 => {}
                version => return Err(wrong(&format!("protocol {version} is not known"))),
            },
            0x95 => {
                if self.input.length8()? > self.input.len() {
                    return Err(ends());
                }
            }

            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'I' => {
                let node = match self.input.line()? {
                    b"00" => Node::Bool(false),
                    b"01" => Node::Bool(true),
                    digits => Node::Int(decimal(digits)?),
                };
                self.push(node)?;
            }
            b'L' => {
                let line = self.input.line()?;
                self.push(Node::Int(decimal(line.strip_suffix(b"L").unwrap_or(line))?))?;
            }
            b'J' => {
                let number = i32::from_le_bytes(self.input.array()?);
                self.push(Node::Int(number.into()))?;
            }
            b'K' => {
                let number = self.input.byte()?;
                self.push(Node::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(self.input.array()?);
                self.push(Node::Int(number.into()))?;
            }
            0x8a => {
                let length = self.input.byte()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.input.length4()?;
                self.long(length)?;
            }
            b'F' => {
                let line = self.input.line()?;
                let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
                let number = number.ok_or_else(|| wrong("a number is not one"))?;
                self.push(Node::Float(number))?;
            }
            b'G' => {
                let number = f64::from_be_bytes(self.input.array()?);
                self.push(Node::Float(number))?;
            }

            b'V' => {
                let line = self.input.line()?;
                self.push(Node::Text(Cow::Owned(unescape(line)?)))?;
            }
            b'X' => {
                let length = self.input.length4()?;
                self.text(length)?;
            }
            0x8c => {
                let length = self.input.byte()?;
                self.text(length.into())?;
            }
            0x8d => {
                let length = self.input.length8()?;
                self.text(length)?;
            }
            b'B' => {
                let length = self.input.length4()?;
                self.bytes(length)?;
            }
            b'C' => {
                let length = self.input.byte()?;
                self.bytes(length.into())?;
            }
            // BINBYTES8 and BYTEARRAY8.
            0x8e | 0x96 => {
                let length = self.input.length8()?;
                self.bytes(length)?;
            }

            b']' => self.push(Node::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))?;
            }
            count @ 0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0..count - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))?;
            }
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Node::Dict(Vec::new()))?;
                self.pairs(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.pairs(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.pairs(&items)?;
            }
            0x8f => self.push(Node::Set(Vec::new()))?,
            0x90 => {
                let items = self.pop_mark()?;
                let top = self.top()?;
                let Node::Set(set) = self.node_mut(top) else {
                    return Err(wrong("it adds items to what is no set"));
                };
                set.extend_from_slice(&items);
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Node::Set(items))?;
            }

            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // It takes a mark, too.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'p' => {
                let place = decimal(self.input.line()?)?;
                self.put(u32::try_from(place).map_err(|_| wrong("a place is not one"))?)?;
            }
            b'q' => {
                let place = self.input.byte()?;
                self.put(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.input.array()?);
                self.put(place)?;
            }
            0x94 => {
                let place = u32::try_from(self.memo.len()).map_err(|_| wrong("it is too large"))?;
                self.put(place)?;
            }
            b'g' => {
                let place = decimal(self.input.line()?)?;
                self.get(u32::try_from(place).map_err(|_| wrong("a place is not one"))?)?;
            }
            b'h' => {
                let place = self.input.byte()?;
                self.get(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.input.array()?);
                self.get(place)?;
            }

            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let global =
                    global(&String::from_utf8_lossy(module), &String::from_utf8_lossy(name))?;
                self.push(Node::Global(global))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = match (self.node(module), self.node(name)) {
                    (Node::Text(module), Node::Text(name)) => global(module, name)?,
                    _ => return Err(wrong("a name is not text")),
                };
                self.push(Node::Global(global))?;
            }
            b'R' => self.call()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,

            other => return Err(wrong(&unknown(other))),
        }
        Ok(true)
    }

    /// Calls what is below the top with the top as arguments: notes it, until it is
    /// known how often what comes of it is used.
    fn call(&mut self) -> Result<()> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let node = match (self.node(callable), self.node(args)) {
            (Node::Global(Global::Dict), Node::Tuple(args)) if args.is_empty() => {
                Node::Dict(Vec::new())
            }
            (Node::Global(global), _) => Node::Call(*global, args),
            _ => return Err(no_call()),
        };
        self.push(node)
    }

    /// Makes an object of the class below the top.
    fn new_object(&mut self) -> Result<()> {
        let (args, class) = (self.pop()?, self.pop()?);
        match (self.node(class), self.node(args)) {
            (Node::Global(Global::Token), Node::Tuple(args)) if args.is_empty() => {
                self.push(Node::Token(None))
            }
            _ => Err(no_call()),
        }
    }

    /// Gives the object below the top its state.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let object = self.top()?;
        match self.node_mut(object) {
            Node::Token(place @ None) => *place = Some(state),
            // What is beside the arguments: notes, for instance.
            Node::Call(Global::Exception(_), _) => {}
            _ => return Err(wrong("it sets the state of what has none")),
        }
        Ok(())
    }

    /// Adds items to the list on the top.
    fn append(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        let Node::List(list) = self.node_mut(top) else {
            return Err(wrong("it appends items to what is no list"));
        };
        list.extend_from_slice(items);
        Ok(())
    }

    /// Adds keys and values, in turn, to the dict on the top.
    fn pairs(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        let Node::Dict(dict) = self.node_mut(top) else {
            return Err(wrong("it sets items of what is no dict"));
        };
        let (pairs, []) = items.as_chunks() else {
            return Err(wrong("a key has no value"));
        };
        dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    /// A number of so many bytes.
    fn long(&mut self, length: usize) -> Result<()> {
        let bytes = self.input.take(length)?;
        if length > size_of::<i128>() {
            return Err(wrong(&format!(
                "a whole number of {} bits, where 128 are the most",
                length.saturating_mul(8)
            )));
        }
        let sign = if bytes.last().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
        let mut number = [sign; size_of::<i128>()];
        number[..length].copy_from_slice(bytes);
        self.push(Node::Int(i128::from_le_bytes(number)))
    }

    /// Text of so many bytes.
    fn text(&mut self, length: usize) -> Result<()> {
        let bytes = self.input.take(length)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| wrong("text is not UTF-8, or has a lone surrogate in it"))?;
        self.push(Node::Text(Cow::Borrowed(text)))
    }

    /// So many bytes.
    fn bytes(&mut self, length: usize) -> Result<()> {
        let bytes = self.input.take(length)?;
        self.push(Node::Bytes(Cow::Borrowed(bytes)))
    }

    /// Remembers the top.
    fn put(&mut self, place: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    /// Uses again what was remembered.
    fn get(&mut self, place: u32) -> Result<()> {
        let id = self.memo.get(&place).ok_or_else(|| wrong("it uses what it has not made"))?;
        self.stack.push(*id);
        Ok(())
    }

    /// Puts a new value on the stack.
    fn push(&mut self, node: Node<'a>) -> Result<()> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| wrong("it has too many values"))?;
        self.nodes.push(node);
        self.stack.push(id);
        Ok(())
    }

    /// The top of the stack.
    fn top(&self) -> Result<Id> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        self.stack[bottom..].last().copied().ok_or_else(|| wrong("it takes what is not there"))
    }

    /// Takes the top of the stack.
    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Takes all above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| wrong("it takes a mark that is not there"))?;
        Ok(self.stack.split_off(mark))
    }

    /// A value. All places are of values that are there.
    fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    /// A value, to be changed.
    fn node_mut(&mut self, id: Id) -> &mut Node<'a> {
        &mut self.nodes[id as usize]
    }
}

/// A name that may be used.
fn global(module: &str, name: &str) -> Result<Global> {
    Global::find(module, name).ok_or_else(|| {
        // The peer chose it, and its length.
        let full: String = format!("{module}.{name}").escape_debug().take(200).collect();
        wrong(&format!("it needs {full}, which is not plain data"))
    })
}

/// Why a step is not done.
fn unknown(step: u8) -> String {
    let what = match step {
        b'P' | b'Q' => "a persistent id",
        b'S' | b'T' | b'U' => "a text of Python 2",
        b'i' | b'o' | 0x92 => "an object of a class",
        0x82..=0x84 => "a name from the extension registry",
        0x97 | 0x98 => "a buffer beside it",
        _ => return format!("{step:#04x} is no step of a pickle"),
    };
    format!("{what} is not plain data")
}
