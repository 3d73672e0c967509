//! The arguments of a call.

use std::time::Duration;

use super::raised::Raised;
use crate::Plain;
use crate::manager::gate::Patience;
use crate::plain::Dict;
use crate::wire::pickle::Object;

/// What a method was given.
#[derive(Debug)]
pub(super) struct Arguments {
    /// In order.
    pub(super) items: Vec<Object>,
    /// By name.
    pub(super) named: Dict,
}

impl Arguments {
    /// Those of a call.
    ///
    /// # Errors
    ///
    /// `TypeError` if names are not in a dict.
    pub(super) fn new(items: Vec<Object>, named: Plain) -> Result<Self, Raised> {
        match named {
            Plain::Dict(named) => Ok(Self { items, named }),
            Plain::None => Ok(Self { items, named: Dict::new() }),
            _ => Err(Raised::type_error("named arguments are no dict")),
        }
    }

    /// Those of these names, of which the first so many must be given.
    ///
    /// # Errors
    ///
    /// `TypeError` if there are others, or too few.
    pub(super) fn bind<const N: usize>(
        mut self,
        names: [&str; N],
        required: usize,
    ) -> Result<[Option<Plain>; N], Raised> {
        if self.items.len() > N {
            let (most, given) = (N, self.items.len());
            return Err(Raised::type_error(format!(
                "takes at most {most} arguments, but {given} were given"
            )));
        }
        let mut items = std::mem::take(&mut self.items).into_iter();
        let mut bound = [const { None }; N];
        for (place, name) in names.into_iter().enumerate() {
            let named = self.named.remove(&name.into());
            bound[place] = match (items.next(), named) {
                (Some(_), Some(_)) => {
                    return Err(Raised::type_error(format!(
                        "multiple values for argument {name:?}"
                    )));
                }
                (Some(item), None) => Some(item.plain()?),
                (None, named) => named,
            };
            if bound[place].is_none() && place < required {
                return Err(Raised::type_error(format!("missing argument {name:?}")));
            }
        }
        match self.named.iter().next() {
            Some((name, _)) => Err(Raised::type_error(format!("unexpected argument {name}"))),
            None => Ok(bound),
        }
    }

    /// The one argument.
    ///
    /// # Errors
    ///
    /// As [`bind`](Arguments::bind).
    pub(super) fn one(self) -> Result<Plain, Raised> {
        let [one] = self.bind(["value"], 1)?;
        Ok(one.unwrap_or_default())
    }

    /// Both arguments.
    ///
    /// # Errors
    ///
    /// As [`bind`](Arguments::bind).
    pub(super) fn two(self) -> Result<(Plain, Plain), Raised> {
        let [first, second] = self.bind(["first", "second"], 2)?;
        Ok((first.unwrap_or_default(), second.unwrap_or_default()))
    }

    /// No argument.
    ///
    /// # Errors
    ///
    /// As [`bind`](Arguments::bind).
    pub(super) fn none(self) -> Result<(), Raised> {
        let [] = self.bind([], 0)?;
        Ok(())
    }
}

/// Whether Python takes a value for true.
pub(super) fn truth(value: &Plain) -> bool {
    match value {
        Plain::None => false,
        Plain::Bool(truth) => *truth,
        Plain::Int(number) => *number != 0,
        Plain::Float(number) => *number != 0.0,
        Plain::Text(text) => !text.is_empty(),
        Plain::Bytes(bytes) => !bytes.is_empty(),
        Plain::List(items) | Plain::Tuple(items) => !items.is_empty(),
        Plain::Dict(dict) => !dict.is_empty(),
        Plain::Set(set) => !set.is_empty(),
    }
}

/// A whole number.
///
/// # Errors
///
/// `TypeError` if it is none.
pub(super) fn whole(value: &Plain) -> Result<i128, Raised> {
    match value {
        Plain::Int(number) => Ok(*number),
        Plain::Bool(truth) => Ok((*truth).into()),
        other => Err(Raised::type_error(format!(
            "'{}' object cannot be interpreted as an integer",
            other.type_name()
        ))),
    }
}

/// A number.
fn number(value: &Plain) -> Result<f64, Raised> {
    match value {
        Plain::Float(number) => Ok(*number),
        other => whole(other).map(|number| number as f64),
    }
}

/// What a negative time is to a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Negative {
    /// -1 is for ever, as to locks; all others are refused.
    OneIsForever,
    /// No time at all, as to semaphores and events.
    AtOnce,
    /// An error, as to queues.
    Refused,
}

/// How long a call waits: not at all unless it is to block; `timeout` in seconds.
///
/// # Errors
///
/// `ValueError` for a time that the method refuses.
pub(super) fn patience(
    block: Option<&Plain>,
    timeout: Option<&Plain>,
    negative: Negative,
) -> Result<Patience, Raised> {
    if !block.is_none_or(truth) {
        return Ok(Patience::of(Some(Duration::ZERO)));
    }
    let seconds = match timeout {
        None | Some(Plain::None) => return Ok(Patience::of(None)),
        Some(timeout) => number(timeout)?,
    };
    let time = match negative {
        Negative::OneIsForever if seconds == -1.0 => None,
        Negative::AtOnce if seconds < 0.0 => Some(Duration::ZERO),
        _ if seconds < 0.0 || seconds.is_nan() => {
            return Err(Raised::saying("ValueError", "'timeout' must be a non-negative number"));
        }
        // What is too long for the system is for ever.
        _ => Duration::try_from_secs_f64(seconds).ok(),
    };
    Ok(Patience::of(time))
}
