//! What the workers do.

use serde::{Deserialize, Serialize};

/// How many steps a point has to escape in. Those that do not are in the set.
const STEPS: u32 = 4000;

/// The part of the plane that the picture shows: its centre, and its height.
const CENTRE: (f64, f64) = (-0.75, 0.0);
const SPAN: f64 = 2.5;

/// A row of the picture.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Which, from the top.
    pub(crate) y: u32,
    /// How many points a row has.
    pub(crate) width: u32,
    /// How many rows there are.
    pub(crate) height: u32,
}

/// The shades of the points of a row: 0 in the set, the brighter the longer it took to
/// escape.
pub(crate) fn shades(row: Row) -> Vec<u8> {
    let step = SPAN / f64::from(row.height);
    let from_middle = |place: u32, size: u32| (f64::from(place) - f64::from(size) / 2.0) * step;
    let im = CENTRE.1 - from_middle(row.y, row.height);
    (0..row.width).map(|x| shade(escape(CENTRE.0 + from_middle(x, row.width), im))).collect()
}

/// After how many steps a point escapes; `None` if it does not.
fn escape(re: f64, im: f64) -> Option<u32> {
    let (mut x, mut y) = (0.0, 0.0);
    (0..STEPS).find(|_| {
        (x, y) = (x * x - y * y + re, 2.0 * x * y + im);
        x * x + y * y > 4.0
    })
}

/// The shade of a point that escapes after so many steps.
fn shade(steps: Option<u32>) -> u8 {
    // The root spreads the many that escape soon.
    steps.map_or(0, |steps| 1 + (254 * steps.isqrt() / STEPS.isqrt()) as u8)
}
