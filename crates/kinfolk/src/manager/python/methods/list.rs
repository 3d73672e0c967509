//! A list.

use std::sync::PoisonError;

use super::containers::{Part, part, place};
use super::dict::length;
use super::order::sorted;
use super::{Answer, Arguments, Call, Methods, Raised};
use crate::Plain;
use crate::manager::objects::list::List;
use crate::manager::python::arguments::{truth, whole};
use crate::wire::pickle::{self, Object};

/// The most bytes that a list may be repeated to at once, as they would travel.
const MOST: usize = 64 << 20;

impl Methods for List {
    fn exposed(&self) -> &'static [&'static str] {
        &[
            "__add__",
            "__contains__",
            "__delitem__",
            "__getitem__",
            "__imul__",
            "__len__",
            "__mul__",
            "__rmul__",
            "__setitem__",
            "append",
            "clear",
            "copy",
            "count",
            "extend",
            "index",
            "insert",
            "pop",
            "remove",
            "reverse",
            "sort",
        ]
    }

    fn call(&self, method: &str, mut args: Arguments, _: &mut Call<'_>) -> Result<Answer, Raised> {
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        Ok(match method {
            "__getitem__" => match part(&mut args)? {
                Some(part) => {
                    let list = look();
                    let places = part.places(list.len())?;
                    places.into_iter().map(|place| list[place].clone()).collect::<Vec<_>>().into()
                }
                None => {
                    let (at, list) = (args.one()?, look());
                    list[place(&at, list.len(), "list index out of range")?].clone().into()
                }
            },
            "__setitem__" => match part(&mut args)? {
                Some(part) => {
                    let items = items(args.one()?)?;
                    set_part(&mut change(), &part, items)?;
                    ().into()
                }
                None => {
                    let ((at, item), mut list) = (args.two()?, change());
                    let at = place(&at, list.len(), "list assignment index out of range")?;
                    list[at] = item;
                    ().into()
                }
            },
            "__delitem__" => match part(&mut args)? {
                Some(part) => {
                    let mut list = change();
                    let mut places = part.places(list.len())?;
                    places.sort_unstable();
                    let mut at = 0;
                    list.retain(|_| {
                        at += 1;
                        places.binary_search(&(at - 1)).is_err()
                    });
                    ().into()
                }
                None => {
                    let (at, mut list) = (args.one()?, change());
                    let at = place(&at, list.len(), "list assignment index out of range")?;
                    list.remove(at);
                    ().into()
                }
            },
            "__contains__" => look().contains(&args.one()?).into(),
            "__len__" => {
                args.none()?;
                length(look().len())
            }
            "__add__" => {
                let Plain::List(more) = args.one()? else {
                    return Err(Raised::type_error("can only concatenate list to list"));
                };
                [&look()[..], &more].concat().into()
            }
            "__mul__" | "__rmul__" => repeated(&look(), &args.one()?)?.into(),
            "__imul__" => {
                let mut list = change();
                *list = repeated(&list, &args.one()?)?;
                // What it returns is not looked at.
                ().into()
            }
            "append" => {
                change().push(args.one()?);
                ().into()
            }
            "extend" => {
                change().extend(items(args.one()?)?);
                ().into()
            }
            "insert" => {
                let ((at, item), mut list) = (args.two()?, change());
                let (at, length) = (whole(&at)?, list.len() as i128);
                let at = if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length);
                list.insert(at as usize, item);
                ().into()
            }
            "pop" => {
                let [at] = args.bind(["index"], 0)?;
                let mut list = change();
                if list.is_empty() {
                    return Err(Raised::saying("IndexError", "pop from empty list"));
                }
                let at = at.unwrap_or_else(|| (-1).into());
                let at = place(&at, list.len(), "pop index out of range")?;
                list.remove(at).into()
            }
            "remove" => {
                let (item, mut list) = (args.one()?, change());
                let at = list.iter().position(|other| *other == item);
                let none = || Raised::saying("ValueError", "list.remove(x): x not in list");
                list.remove(at.ok_or_else(none)?);
                ().into()
            }
            "index" => {
                let [item, start, stop] = args.bind(["value", "start", "stop"], 1)?;
                let item = item.unwrap_or_default();
                let within = Part::new([start, stop, None].map(Option::unwrap_or_default));
                let list = look();
                let mut places = within.places(list.len())?.into_iter();
                let at = places.find(|at| list[*at] == item);
                length(at.ok_or_else(|| {
                    Raised::saying("ValueError", format!("{item} is not in list"))
                })?)
            }
            "count" => {
                let item = args.one()?;
                length(look().iter().filter(|other| **other == item).count())
            }
            "reverse" => {
                args.none()?;
                change().reverse();
                ().into()
            }
            "sort" => {
                let reverse = args.named.remove(&"reverse".into());
                if args.named.remove(&"key".into()).is_some_and(|key| key != Plain::None) {
                    return Err(Raised::type_error("the manager calls no function of its client"));
                }
                args.none()?;
                let reverse = reverse.is_some_and(|reverse| truth(&reverse));
                let mut list = change();
                let sorted = sorted(list.iter().collect(), reverse)?;
                *list = sorted.into_iter().cloned().collect();
                ().into()
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
            _ => return Err(Raised::NoMethod),
        })
    }

    fn value(&self) -> Option<Plain> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone().into())
    }
}

/// The items of what can be iterated over.
pub(super) fn items(from: Plain) -> Result<Vec<Plain>, Raised> {
    Ok(match from {
        Plain::List(items) | Plain::Tuple(items) => items,
        Plain::Set(items) => items.into_items().collect(),
        Plain::Dict(dict) => dict.into_pairs().map(|(key, _)| key).collect(),
        Plain::Text(text) => text.chars().map(|each| Plain::Text(each.into())).collect(),
        Plain::Bytes(bytes) => bytes.into_iter().map(|byte| Plain::Int(byte.into())).collect(),
        other => {
            let kind = other.type_name();
            return Err(Raised::type_error(format!("'{kind}' object is not iterable")));
        }
    })
}

/// Puts items in the place of a part.
fn set_part(list: &mut Vec<Plain>, part: &Part, items: Vec<Plain>) -> Result<(), Raised> {
    if let Some(range) = part.range(list.len())? {
        list.splice(range, items);
        return Ok(());
    }
    let places = part.places(list.len())?;
    if places.len() != items.len() {
        let (given, places) = (items.len(), places.len());
        return Err(Raised::saying(
            "ValueError",
            format!(
                "attempt to assign sequence of size {given} to extended slice of size {places}"
            ),
        ));
    }
    for (place, item) in places.into_iter().zip(items) {
        list[place] = item;
    }
    Ok(())
}

/// A list, so often.
fn repeated(list: &[Plain], times: &Plain) -> Result<Vec<Plain>, Raised> {
    let times = usize::try_from(whole(times)?.max(0)).unwrap_or(usize::MAX);
    let size = pickle::write(&Object::Plain(list.to_vec().into()))?.len();
    if size.saturating_mul(times) > MOST && times > 1 && !list.is_empty() {
        return Err(Raised::new("MemoryError", Vec::new()));
    }
    Ok(list.iter().cycle().take(list.len().saturating_mul(times)).cloned().collect())
}
