//! Plain data as any value of serde's.

use serde::de::value::{
    BorrowedStrDeserializer, Error, MapDeserializer, SeqDeserializer, StrDeserializer,
};
use serde::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};

use super::Plain;
use super::value::NAME;

/// Converts data.
pub(super) fn convert<'de, T: Deserialize<'de>>(plain: &'de Plain) -> Result<T, Error> {
    T::deserialize(Deserializer(plain))
}

/// Gives plain data to whoever asks for a value.
#[derive(Clone, Copy)]
struct Deserializer<'de>(&'de Plain);

impl<'de> Deserializer<'de> {
    /// Gives the items of a sequence.
    fn seq<V: Visitor<'de>>(
        items: impl Iterator<Item = &'de Plain>,
        v: V,
    ) -> Result<V::Value, Error> {
        let mut items = SeqDeserializer::new(items.map(Deserializer));
        let value = v.visit_seq(&mut items)?;
        items.end()?;
        Ok(value)
    }
}

/// What is not to be a variant.
fn no_variant<T>(what: Unexpected<'_>, expected: &'static str) -> Result<T, Error> {
    Err(Error::invalid_type(what, &expected))
}

impl<'de> de::Deserializer<'de> for Deserializer<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Plain::None => visitor.visit_unit(),
            Plain::Bool(truth) => visitor.visit_bool(*truth),
            Plain::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => visitor.visit_i128(*number),
            },
            Plain::Float(number) => visitor.visit_f64(*number),
            Plain::Text(text) => visitor.visit_borrowed_str(text),
            Plain::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Plain::List(items) | Plain::Tuple(items) => Self::seq(items.iter(), visitor),
            Plain::Set(items) => Self::seq(items.iter(), visitor),
            Plain::Dict(dict) => {
                let pairs =
                    dict.iter().map(|(key, value)| (Deserializer(key), Deserializer(value)));
                let mut pairs = MapDeserializer::new(pairs);
                let value = visitor.visit_map(&mut pairs)?;
                pairs.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Plain::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Plain::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == NAME {
            return visitor.visit_enum(Itself(self));
        }
        match self.0 {
            Plain::Text(tag) => visitor.visit_enum(BorrowedStrDeserializer::new(tag)),
            Plain::Dict(dict) => match dict.iter().next() {
                Some((Plain::Text(tag), data)) if dict.len() == 1 => {
                    visitor.visit_enum(Variant { tag, data: Self(data) })
                }
                _ => no_variant(Unexpected::Map, "a dict of a variant's name alone"),
            },
            other => no_variant(Unexpected::Other(other.type_name()), "a variant's name"),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct map struct identifier
    }
}

impl<'de> IntoDeserializer<'de, Error> for Deserializer<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A variant with data.
struct Variant<'de> {
    /// Its name.
    tag: &'de str,
    /// Its data.
    data: Deserializer<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Deserializer<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Deserializer<'de>), Error> {
        let tag = seed.deserialize(BorrowedStrDeserializer::<Error>::new(self.tag))?;
        Ok((tag, self.data))
    }
}

/// Data that stays plain: the variant of [`Plain`] that it is.
struct Itself<'de>(Deserializer<'de>);

impl<'de> EnumAccess<'de> for Itself<'de> {
    type Error = Error;
    type Variant = Deserializer<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Deserializer<'de>), Error> {
        let tag = match self.0.0 {
            Plain::None => "None",
            Plain::Bool(_) => "Bool",
            Plain::Int(_) => "Int",
            Plain::Float(_) => "Float",
            Plain::Text(_) => "Text",
            Plain::Bytes(_) => "Bytes",
            Plain::List(_) => "List",
            Plain::Tuple(_) => "Tuple",
            Plain::Dict(_) => "Dict",
            Plain::Set(_) => "Set",
        };
        Ok((seed.deserialize(StrDeserializer::<Error>::new(tag))?, self.0))
    }
}

impl<'de> VariantAccess<'de> for Deserializer<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        <()>::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}
