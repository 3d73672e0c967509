//! Which of two values comes first, as Python has it.

use std::cmp::Ordering;

use super::Raised;
use crate::Plain;
use crate::manager::python::arguments::whole;

/// The items in order; those that are equal stay in theirs.
///
/// A merge sort, which any answer of the comparison leaves whole: there are values, such as
/// NaN, by which Python's `<` orders nothing.
///
/// # Errors
///
/// `TypeError` if Python does not compare two of them.
pub(super) fn sorted(mut items: Vec<&Plain>, reverse: bool) -> Result<Vec<&Plain>, Raised> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = items.split_off(items.len() / 2);
    let mut left = sorted(items, reverse)?.into_iter().peekable();
    let mut right = sorted(right, reverse)?.into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let later = if reverse { is_less(a, b)? } else { is_less(b, a)? };
        merged.extend(if later { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

/// Whether `a < b`.
fn is_less(a: &Plain, b: &Plain) -> Result<bool, Raised> {
    let integer = |value| {
        whole(value).map_err(|_| {
            let (a, b) = (a.type_name(), b.type_name());
            Raised::type_error(format!("'<' not supported between instances of '{a}' and '{b}'"))
        })
    };
    Ok(match (a, b) {
        (Plain::Text(a), Plain::Text(b)) => a < b,
        (Plain::Bytes(a), Plain::Bytes(b)) => a < b,
        (Plain::Set(a), Plain::Set(b)) => {
            a.len() < b.len() && a.iter().all(|item| b.contains(item))
        }
        (Plain::List(a), Plain::List(b)) | (Plain::Tuple(a), Plain::Tuple(b)) => {
            match a.iter().zip(b).find(|(a, b)| a != b) {
                Some((a, b)) => is_less(a, b)?,
                None => a.len() < b.len(),
            }
        }
        (Plain::Float(a), Plain::Float(b)) => a < b,
        (a, Plain::Float(b)) => order(integer(a)?, *b) == Some(Ordering::Less),
        (Plain::Float(a), b) => order(integer(b)?, *a) == Some(Ordering::Greater),
        (a, b) => integer(a)? < integer(b)?,
    })
}

/// How an integer compares with a real number: exactly, though neither type has all that the
/// other has.
fn order(integer: i128, real: f64) -> Option<Ordering> {
    /// The first number that is too large for an integer.
    const END: f64 = -(i128::MIN as f64);
    if real >= END {
        return Some(Ordering::Less);
    }
    if real < -END {
        return Some(Ordering::Greater);
    }
    match integer.cmp(&(real.trunc() as i128)) {
        // No number is neither less nor greater than a part of one.
        Ordering::Equal => 0.0.partial_cmp(&real.fract()),
        order => Some(order),
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::{order, sorted};
    use crate::Plain;

    #[test]
    fn integers_and_real_numbers_compare_exactly() {
        const EXACT: i128 = 1 << 53;
        assert_eq!(order(EXACT + 1, EXACT as f64), Some(Ordering::Greater));
        assert_eq!(order(EXACT, EXACT as f64), Some(Ordering::Equal));
        assert_eq!(order(3, 3.5), Some(Ordering::Less));
        assert_eq!(order(-3, -3.5), Some(Ordering::Greater));
        assert_eq!(order(-3, -3.0), Some(Ordering::Equal));
        assert_eq!(order(i128::MAX, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(order(i128::MAX, 2_f64.powi(127)), Some(Ordering::Less));
        assert_eq!(order(i128::MIN, -2_f64.powi(127)), Some(Ordering::Equal));
        assert_eq!(order(i128::MIN, f64::NEG_INFINITY), Some(Ordering::Greater));
        assert_eq!(order(0, f64::NAN), None);
    }

    #[test]
    fn what_has_no_order_is_all_there_afterwards() {
        let item = |number: i32| match number % 3 {
            0 => f64::NAN.into(),
            1 => Plain::Int(i128::from(number * 7 % 50)),
            _ => Plain::Float(f64::from(number * 13 % 40)),
        };
        let items: Vec<Plain> = (0..100).map(item).collect();
        let mut after = sorted(items.iter().collect(), false).unwrap();
        assert_eq!(after.len(), items.len());
        after.sort_by_key(|item| std::ptr::from_ref(*item));
        assert!(items.iter().zip(after).all(|(a, b)| std::ptr::eq(a, b)));
    }

    #[test]
    fn equals_keep_their_order_also_in_reverse() {
        let items = [Plain::Int(1), Plain::Float(1.0), Plain::Int(2), Plain::Bool(true)];
        let kinds = |reverse| {
            let sorted = sorted(items.iter().collect(), reverse).unwrap();
            sorted.into_iter().map(Plain::type_name).collect::<Vec<_>>()
        };
        assert_eq!(kinds(false), ["int", "float", "bool", "int"]);
        assert_eq!(kinds(true), ["int", "int", "float", "bool"]);
    }

    #[test]
    fn what_python_does_not_compare_is_an_error() {
        let items: Vec<Plain> =
            (0..100).map(|n| if n == 77 { "x".into() } else { n.into() }).collect();
        assert!(sorted(items.iter().collect(), false).is_err());
    }
}
