//! Plain data: what Python and Rust both have.
//!
//! [`Plain`] is one value of it, [`Dict`] and [`Set`] its collections. Any serde type
//! becomes plain data and comes back: [`Plain::from_value`], [`Plain::to_value`].

mod dict;
mod from_value;
mod level;
mod repr;
mod set;
mod to_value;
mod value;

pub use dict::Dict;
#[cfg(feature = "pickle")]
pub(crate) use level::{MAX_DEPTH, too_deep};
pub use set::Set;
pub use value::Plain;
