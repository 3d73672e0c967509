//! Writing values of fixed size.

use serde::Serialize;
use serde::ser::{self, Impossible};

use super::Refused;

/// Writes values.
pub(super) struct Writer<'a> {
    /// The room that is left.
    pub(super) room: &'a mut [u8],
}

impl Writer<'_> {
    /// Writes bytes.
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), Refused> {
        let (to, rest) = std::mem::take(&mut self.room).split_first_chunk_mut().ok_or(Refused)?;
        *to = bytes;
        self.room = rest;
        Ok(())
    }
}

/// Writes numbers as they are.
macro_rules! write_numbers {
    ($($method:ident: $number:ty),*) => {
        $(#[inline]
        fn $method(self, value: $number) -> Result<(), Refused> {
            self.put(value.to_le_bytes())
        })*
    };
}

/// Writes the parts of a value one behind the other.
macro_rules! write_parts {
    ($($part:ident: $method:ident($($key:ty)?)),*) => {
        $(impl ser::$part for &mut Writer<'_> {
            type Ok = ();
            type Error = Refused;

            #[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $key,)?
                value: &T,
            ) -> Result<(), Refused> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        })*
    };
}

write_parts!(
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str)
);

impl ser::Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Impossible<(), Refused>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Impossible<(), Refused>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    write_numbers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64
    );

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.put([value.into()])
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.put(u32::from(value).to_le_bytes())
    }

    fn serialize_str(self, _: &str) -> Result<(), Refused> {
        Err(Refused)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Refused> {
        Err(Refused)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Refused> {
        self.put([0])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.put([1])?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Refused> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Refused> {
        self.put(index.to_le_bytes())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.put(index.to_le_bytes())?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
        Err(Refused)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.put(index.to_le_bytes())?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        Err(Refused)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.put(index.to_le_bytes())?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
