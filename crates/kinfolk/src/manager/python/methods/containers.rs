//! Parts of lists, and the small containers: array, namespace, value.

use std::ops::Range;
use std::sync::PoisonError;

use super::dict::length;
use super::list::items;
use super::{Answer, Arguments, Call, Methods, Raised};
use crate::Plain;
use crate::manager::objects::array::Array;
use crate::manager::objects::namespace::Namespace;
use crate::manager::objects::value::Value;
use crate::manager::python::arguments::whole;
use crate::wire::pickle::Object;

/// A part of a list: its start, stop and step, of which none need be given.
pub(super) struct Part([Plain; 3]);

impl Part {
    /// From, up to, and in steps.
    pub(super) fn new(parts: [Plain; 3]) -> Self {
        Self(parts)
    }

    /// Start, stop and step in a list of a length.
    fn bounds(&self, length: usize) -> Result<[i128; 3], Raised> {
        let [start, stop, step] = &self.0;
        let given = |value: &Plain| match value {
            Plain::None => Ok(None),
            value => whole(value).map(Some),
        };
        let step = given(step)?.unwrap_or(1);
        if step == 0 {
            return Err(Raised::saying("ValueError", "slice step cannot be zero"));
        }
        let length = length as i128;
        // Backwards, it ends before the first item.
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let within =
            |at: i128| if at < 0 { at.saturating_add(length) } else { at }.clamp(low, high);
        let (first, last) = if step > 0 { (low, high) } else { (high, low) };
        let start = given(start)?.map_or(first, within);
        let stop = given(stop)?.map_or(last, within);
        Ok([start, stop, step])
    }

    /// The places in a list of a length.
    pub(super) fn places(&self, length: usize) -> Result<Vec<usize>, Raised> {
        let [start, stop, step] = self.bounds(length)?;
        let mut places = Vec::new();
        let mut at = start;
        while (step > 0 && at < stop) || (step < 0 && at > stop) {
            // Inside of the list, by the bounds.
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
        Ok(places)
    }

    /// The same as a range, if nothing is left out.
    pub(super) fn range(&self, length: usize) -> Result<Option<Range<usize>>, Raised> {
        let [start, stop, step] = self.bounds(length)?;
        if step != 1 {
            return Ok(None);
        }
        let [start, stop] = [start, stop.max(start)].map(|at| usize::try_from(at).unwrap_or(0));
        Ok(Some(start..stop))
    }
}

/// The part that a call is of, if its first argument is one: taken out of the arguments.
pub(super) fn part(args: &mut Arguments) -> Result<Option<Part>, Raised> {
    match args.items.first() {
        Some(Object::Slice(parts)) => {
            let part = Part::new(parts.clone());
            args.items.remove(0);
            Ok(Some(part))
        }
        _ => Ok(None),
    }
}

/// A place in a list of a length, counted from its end if it is negative.
pub(super) fn place(at: &Plain, length: usize, outside: &str) -> Result<usize, Raised> {
    let at = whole(at)?;
    let from_start = if at < 0 { at.saturating_add(length as i128) } else { at };
    let place = usize::try_from(from_start).ok().filter(|place| *place < length);
    place.ok_or_else(|| Raised::saying("IndexError", outside))
}

impl Methods for Array {
    fn exposed(&self) -> &'static [&'static str] {
        &["__getitem__", "__len__", "__setitem__"]
    }

    fn call(&self, method: &str, mut args: Arguments, _: &mut Call<'_>) -> Result<Answer, Raised> {
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(match method {
            "__getitem__" => match part(&mut args)? {
                Some(part) => {
                    let array = look();
                    let places = part.places(array.len())?;
                    places.into_iter().map(|place| array[place].clone()).collect::<Vec<_>>().into()
                }
                None => {
                    let (at, array) = (args.one()?, look());
                    array[place(&at, array.len(), "array index out of range")?].clone().into()
                }
            },
            "__setitem__" => {
                let (at, item) = args.two()?;
                let mut array = self.0.write().unwrap_or_else(PoisonError::into_inner);
                let at = place(&at, array.len(), "array assignment index out of range")?;
                array[at] = item;
                ().into()
            }
            "__len__" => {
                args.none()?;
                length(look().len())
            }
            _ => return Err(Raised::NoMethod),
        })
    }

    fn value(&self) -> Option<Plain> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).to_vec().into())
    }

    fn repr(&self) -> String {
        format!("array({})", self.value().unwrap_or_default())
    }
}

impl Array {
    /// An array of these items.
    pub(super) fn of(from: Plain) -> Result<Self, Raised> {
        Ok(Self(std::sync::RwLock::new(items(from)?.into())))
    }
}

impl Methods for Namespace {
    fn exposed(&self) -> &'static [&'static str] {
        &["__delattr__", "__getattribute__", "__setattr__"]
    }

    fn call(&self, method: &str, args: Arguments, _: &mut Call<'_>) -> Result<Answer, Raised> {
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        let name = |name: Plain| match name {
            Plain::Text(name) => Ok(name),
            _ => Err(Raised::type_error("attribute name must be string")),
        };
        let missing = |name: &str| {
            let says = format!("'Namespace' object has no attribute '{name}'");
            Raised::saying("AttributeError", says)
        };
        Ok(match method {
            "__getattribute__" => {
                let name = name(args.one()?)?;
                let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
                names.get(&name).cloned().ok_or_else(|| missing(&name))?.into()
            }
            "__setattr__" => {
                let (attribute, value) = args.two()?;
                change().insert(name(attribute)?, value);
                ().into()
            }
            "__delattr__" => {
                let name = name(args.one()?)?;
                change().remove(&name).map(|_| ()).ok_or_else(|| missing(&name))?.into()
            }
            _ => return Err(Raised::NoMethod),
        })
    }

    fn repr(&self) -> String {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let shown = names.iter().filter(|(name, _)| !name.starts_with('_'));
        let shown: Vec<_> = shown.map(|(name, value)| format!("{name}={value}")).collect();
        format!("Namespace({})", shown.join(", "))
    }
}

impl Methods for Value {
    fn exposed(&self) -> &'static [&'static str] {
        &["get", "set"]
    }

    fn call(&self, method: &str, args: Arguments, _: &mut Call<'_>) -> Result<Answer, Raised> {
        Ok(match method {
            "get" => {
                args.none()?;
                self.value().unwrap_or_default().into()
            }
            "set" => {
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = args.one()?;
                ().into()
            }
            _ => return Err(Raised::NoMethod),
        })
    }

    fn value(&self) -> Option<Plain> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn repr(&self) -> String {
        format!("Value({})", self.value().unwrap_or_default())
    }
}
