//! Values as bytes on their way to a worker and back: pickles, and what is shorter and
//! faster than those for numbers, strings and the like.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

/// The first byte of a pickle.
const PICKLE: u8 = 0x80;
/// What other values begin with.
const NONE: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const STR: u8 = 5;
const BYTES: u8 = 6;

/// Appends a value, pickled by `dumps` if it is none of the simple ones.
pub(crate) fn encode(
    value: &Bound<'_, PyAny>,
    dumps: &Bound<'_, PyAny>,
    to: &mut Vec<u8>,
) -> PyResult<()> {
    if value.is_exact_instance_of::<PyInt>() {
        if let Ok(number) = value.extract::<i64>() {
            to.push(INT);
            to.extend_from_slice(&number.to_le_bytes());
            return Ok(());
        }
    } else if value.is_none() {
        to.push(NONE);
        return Ok(());
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        to.push(FLOAT);
        to.extend_from_slice(&number.value().to_le_bytes());
        return Ok(());
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        to.push(if truth.is_true() { TRUE } else { FALSE });
        return Ok(());
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        if let Ok(text) = text.to_str() {
            to.push(STR);
            to.extend_from_slice(text.as_bytes());
            return Ok(());
        }
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        to.push(BYTES);
        to.extend_from_slice(bytes.as_bytes());
        return Ok(());
    }
    let pickle = dumps.call1((value,))?;
    to.extend_from_slice(pickle.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

/// Makes a value of what [`encode`] has made of it.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    bytes: &[u8],
    loads: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let broken = || PyValueError::new_err("a message of a pool is not as pools make them");
    let (kind, rest) = bytes.split_first().ok_or_else(broken)?;
    let number = || <[u8; 8]>::try_from(rest).map_err(|_| broken());
    Ok(match *kind {
        PICKLE => loads.call1((PyBytes::new(py, bytes),))?,
        NONE => py.None().into_bound(py),
        FALSE => PyBool::new(py, false).to_owned().into_any(),
        TRUE => PyBool::new(py, true).to_owned().into_any(),
        INT => i64::from_le_bytes(number()?).into_pyobject(py)?.into_any(),
        FLOAT => PyFloat::new(py, f64::from_le_bytes(number()?)).into_any(),
        STR => PyString::new(py, std::str::from_utf8(rest).map_err(|_| broken())?).into_any(),
        BYTES => PyBytes::new(py, rest).into_any(),
        _ => return Err(broken()),
    })
}
