//! A dict.

use std::sync::PoisonError;

use super::{Answer, Arguments, Call, Methods, Raised};
use crate::Plain;
use crate::manager::objects::dict::Dict;
use crate::plain::Dict as Pairs;
use crate::wire::pickle::Object;

impl Methods for Dict {
    fn exposed(&self) -> &'static [&'static str] {
        &[
            "__contains__",
            "__delitem__",
            "__getitem__",
            "__iter__",
            "__len__",
            "__setitem__",
            "clear",
            "copy",
            "get",
            "items",
            "keys",
            "pop",
            "popitem",
            "setdefault",
            "update",
            "values",
        ]
    }

    fn call(&self, method: &str, args: Arguments, _: &mut Call<'_>) -> Result<Answer, Raised> {
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        Ok(match method {
            "__getitem__" => {
                let key = key(args.one()?)?;
                let value = look().get(&key).cloned();
                value.ok_or_else(|| missing(key))?.into()
            }
            "__setitem__" => {
                let (key, value) = args.two()?;
                change().insert(key, value)?;
                ().into()
            }
            "__delitem__" => {
                let key = key(args.one()?)?;
                let removed = change().remove(&key);
                removed.map(|_| Plain::None).ok_or_else(|| missing(key))?.into()
            }
            "__contains__" => look().contains_key(&key(args.one()?)?).into(),
            "__len__" => {
                args.none()?;
                length(look().len())
            }
            "__iter__" => {
                args.none()?;
                Answer::Iterator(look().iter().map(|(key, _)| key.clone()).collect())
            }
            "keys" => {
                args.none()?;
                look().iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().into()
            }
            "values" => {
                args.none()?;
                look().iter().map(|(_, value)| value.clone()).collect::<Vec<_>>().into()
            }
            "items" => {
                args.none()?;
                let pair =
                    |(key, value): (&Plain, &Plain)| Plain::Tuple(vec![key.clone(), value.clone()]);
                look().iter().map(pair).collect::<Vec<_>>().into()
            }
            "copy" => {
                args.none()?;
                look().clone().into()
            }
            "clear" => {
                args.none()?;
                let all = std::mem::take(&mut *change());
                drop(all);
                ().into()
            }
            "get" => {
                let [key, default] = args.bind(["key", "default"], 1)?;
                let key = self::key(key.unwrap_or_default())?;
                let value = look().get(&key).cloned();
                value.or(default).unwrap_or_default().into()
            }
            "setdefault" => {
                let [key, default] = args.bind(["key", "default"], 1)?;
                let (key, default) = (key.unwrap_or_default(), default.unwrap_or_default());
                let mut dict = change();
                if let Some(value) = dict.get(&key) {
                    return Ok(value.clone().into());
                }
                dict.insert(key, default.clone())?;
                default.into()
            }
            "pop" => {
                let [key, default] = args.bind(["key", "default"], 1)?;
                let key = self::key(key.unwrap_or_default())?;
                let removed = change().remove(&key);
                removed.or(default).ok_or_else(|| missing(key))?.into()
            }
            "popitem" => {
                args.none()?;
                let (key, value) = change()
                    .pop_last()
                    .ok_or_else(|| Raised::saying("KeyError", "popitem(): dictionary is empty"))?;
                Plain::Tuple(vec![key, value]).into()
            }
            "update" => {
                // All or none: what cannot be done is found before.
                let new = pairs(args)?;
                let mut dict = change();
                for (key, value) in new.into_pairs() {
                    dict.insert(key, value)?;
                }
                ().into()
            }
            _ => return Err(Raised::NoMethod),
        })
    }

    fn value(&self) -> Option<Plain> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone().into())
    }
}

/// The pairs that a dict is made of: another one, or a sequence of pairs, and named ones.
pub(super) fn pairs(args: Arguments) -> Result<Pairs, Raised> {
    let Arguments { items, named } = args;
    let mut dict = match <[Object; 1]>::try_from(items) {
        Ok([Object::Plain(Plain::Dict(dict))]) => dict,
        Ok([other]) => {
            let pairs = other.plain()?.to_value::<Vec<(Plain, Plain)>>();
            let pairs = pairs.map_err(|_| Raised::type_error("these are no pairs"))?;
            Pairs::from_pairs(pairs)?
        }
        Err(none) if none.is_empty() => Pairs::new(),
        Err(_) => return Err(Raised::type_error("more than one argument without a name")),
    };
    for (name, value) in named.into_pairs() {
        dict.insert(name, value)?;
    }
    Ok(dict)
}

/// How many there are.
pub(super) fn length(length: usize) -> Answer {
    Plain::Int(length as i128).into()
}

/// A value that can be a key.
fn key(key: Plain) -> Result<Plain, Raised> {
    if key.is_hashable() {
        return Ok(key);
    }
    Err(Raised::type_error(format!("unhashable type: '{}'", key.type_name())))
}

/// There is no such key.
fn missing(key: Plain) -> Raised {
    Raised::new("KeyError", vec![key])
}
