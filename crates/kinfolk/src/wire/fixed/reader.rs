//! Reading values of fixed size.

use serde::de::{self, IntoDeserializer as _};

use super::Refused;

/// Reads values.
pub(super) struct Reader<'a> {
    /// The bytes that are left.
    pub(super) bytes: &'a [u8],
}

impl Reader<'_> {
    /// Reads bytes.
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (bytes, rest) = self.bytes.split_first_chunk().ok_or(Refused)?;
        self.bytes = rest;
        Ok(*bytes)
    }
}

/// Reads numbers as they are.
macro_rules! read_numbers {
    ($($method:ident: $visit:ident($number:ty)),*) => {
        $(#[inline]
        fn $method<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            visitor.$visit(<$number>::from_le_bytes(self.take()?))
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'_> {
    type Error = Refused;

    read_numbers!(
        deserialize_i8: visit_i8(i8), deserialize_i16: visit_i16(i16),
        deserialize_i32: visit_i32(i32), deserialize_i64: visit_i64(i64),
        deserialize_i128: visit_i128(i128), deserialize_u8: visit_u8(u8),
        deserialize_u16: visit_u16(u16), deserialize_u32: visit_u32(u32),
        deserialize_u64: visit_u64(u64), deserialize_u128: visit_u128(u128),
        deserialize_f32: visit_f32(f32), deserialize_f64: visit_f64(f64)
    );

    fn deserialize_any<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused)
    }

    #[inline]
    fn deserialize_bool<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.take()? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            _ => Err(Refused),
        }
    }

    #[inline]
    fn deserialize_char<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let number = u32::from_le_bytes(self.take()?);
        visitor.visit_char(char::from_u32(number).ok_or(Refused)?)
    }

    #[inline]
    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.take()? {
            [0] => visitor.visit_none(),
            [1] => visitor.visit_some(self),
            _ => Err(Refused),
        }
    }

    #[inline]
    fn deserialize_unit<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_tuple<V: de::Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Parts { reader: self, left: length })
    }

    #[inline]
    fn deserialize_tuple_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        str string bytes byte_buf seq map identifier ignored_any
    }
}

/// The parts of a value that is read.
struct Parts<'a, 'b> {
    /// Where they are.
    reader: &'a mut Reader<'b>,
    /// How many are left.
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Parts<'_, '_> {
    type Error = Refused;

    #[inline]
    fn next_element_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refused> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Reader<'_> {
    type Error = Refused;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: de::DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), Refused> {
        let index = u32::from_le_bytes(self.take()?);
        Ok((seed.deserialize(index.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reader<'_> {
    type Error = Refused;

    #[inline]
    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Refused> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: de::Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        de::Deserializer::deserialize_tuple(self, length, visitor)
    }

    #[inline]
    fn struct_variant<V: de::Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}
