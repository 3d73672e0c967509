//! Any value of serde's as plain data.

use serde::de::value::Error;
use serde::ser::{
    self, Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct,
    SerializeStructVariant, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use super::level::{MAX_DEPTH, too_deep};
use super::value::NAME;
use super::{Dict, Plain, Set};

/// Converts a value.
pub(super) fn convert<T: Serialize + ?Sized>(value: &T) -> Result<Plain, Error> {
    value.serialize(Serializer { depth: 1 })
}

/// Makes plain data of what it is given.
#[derive(Clone, Copy)]
struct Serializer {
    /// How deep the value is inside of others, itself included.
    depth: usize,
}

impl Serializer {
    /// The serializer for what is in a value.
    fn inside(self) -> Result<Self, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::custom(too_deep()));
        }
        Ok(Self { depth: self.depth + 1 })
    }

    /// Several values, of which the last step makes one.
    fn several(self, kind: Kind, variant: Option<&'static str>) -> Result<Several, Error> {
        // A variant's data is in a dict.
        let outer = if variant.is_some() { self.inside()? } else { self };
        Ok(Several { outer, kind, variant, items: Vec::new(), key: None })
    }
}

/// Which of the containers several values become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A list.
    List,
    /// A tuple.
    Tuple,
    /// A dict, of keys and values in turn.
    Dict,
}

/// Several values on their way into a container.
struct Several {
    /// That of the container.
    outer: Serializer,
    /// The container.
    kind: Kind,
    /// The name of the variant whose data they are.
    variant: Option<&'static str>,
    /// Those of a list or tuple, or a dict's pairs.
    items: Vec<(Plain, Plain)>,
    /// The key whose value comes next.
    key: Option<Plain>,
}

impl Several {
    /// Adds an item.
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.items.push((Plain::None, value.serialize(self.outer.inside()?)?));
        Ok(())
    }

    /// Adds a field.
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.items.push((name.into(), value.serialize(self.outer.inside()?)?));
        Ok(())
    }

    /// The container.
    fn finish(self) -> Result<Plain, Error> {
        let items = self.items.into_iter();
        let plain = match self.kind {
            Kind::List => Plain::List(items.map(|(_, item)| item).collect()),
            Kind::Tuple => Plain::Tuple(items.map(|(_, item)| item).collect()),
            Kind::Dict => Plain::Dict(Dict::from_pairs(items).map_err(Error::custom)?),
        };
        match self.variant {
            Some(name) => variant(name, plain),
            None => Ok(plain),
        }
    }
}

/// A variant's data, by its name.
fn variant(name: &str, data: Plain) -> Result<Plain, Error> {
    Dict::from_pairs([(name.into(), data)]).map(Plain::Dict).map_err(Error::custom)
}

/// Numbers and the like.
macro_rules! simple {
    ($($method:ident($rust:ty) $kind:ident;)*) => {$(
        fn $method(self, value: $rust) -> Result<Plain, Error> {
            Ok(Plain::$kind(value.into()))
        }
    )*};
}

impl ser::Serializer for Serializer {
    type Ok = Plain;
    type Error = Error;
    type SerializeSeq = Several;
    type SerializeTuple = Several;
    type SerializeTupleStruct = Several;
    type SerializeTupleVariant = Several;
    type SerializeMap = Several;
    type SerializeStruct = Several;
    type SerializeStructVariant = Several;

    simple! {
        serialize_bool(bool) Bool;
        serialize_i8(i8) Int;
        serialize_i16(i16) Int;
        serialize_i32(i32) Int;
        serialize_i64(i64) Int;
        serialize_i128(i128) Int;
        serialize_u8(u8) Int;
        serialize_u16(u16) Int;
        serialize_u32(u32) Int;
        serialize_u64(u64) Int;
        serialize_f32(f32) Float;
        serialize_f64(f64) Float;
        serialize_char(char) Text;
        serialize_str(&str) Text;
        serialize_bytes(&[u8]) Bytes;
    }

    fn serialize_u128(self, value: u128) -> Result<Plain, Error> {
        i128::try_from(value)
            .map(Plain::Int)
            .map_err(|_| Error::custom(format!("{value} has more than 127 bits")))
    }

    fn serialize_none(self) -> Result<Plain, Error> {
        Ok(Plain::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Plain, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Plain, Error> {
        Ok(Plain::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Plain, Error> {
        Ok(Plain::None)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Plain, Error> {
        // `Plain` has one variant without data.
        Ok(if name == NAME { Plain::None } else { variant.into() })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Plain, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        tag: &'static str,
        value: &T,
    ) -> Result<Plain, Error> {
        if name != NAME {
            return variant(tag, value.serialize(self.inside()?)?);
        }
        // It is plain already, except that tuples and sets came as sequences.
        Ok(match (tag, value.serialize(self)?) {
            ("Tuple", Plain::List(items)) => Plain::Tuple(items),
            ("Set", Plain::List(items)) => Set::from_items(items).map_err(Error::custom)?.into(),
            (_, plain) => plain,
        })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Several, Error> {
        self.several(Kind::List, None)
    }

    fn serialize_tuple(self, _: usize) -> Result<Several, Error> {
        self.several(Kind::Tuple, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Several, Error> {
        self.several(Kind::Tuple, None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Several, Error> {
        self.several(Kind::Tuple, Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Several, Error> {
        self.several(Kind::Dict, None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Several, Error> {
        self.several(Kind::Dict, None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Several, Error> {
        self.several(Kind::Dict, Some(variant))
    }
}

/// Containers of items.
macro_rules! items {
    ($($kind:ident::$method:ident;)*) => {$(
        impl $kind for Several {
            type Ok = Plain;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<Plain, Error> {
                self.finish()
            }
        }
    )*};
}

items! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

/// Containers of fields.
macro_rules! fields {
    ($($kind:ident;)*) => {$(
        impl $kind for Several {
            type Ok = Plain;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<Plain, Error> {
                self.finish()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl SerializeMap for Several {
    type Ok = Plain;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = Some(key.serialize(self.outer.inside()?)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = self.key.take().ok_or_else(|| Error::custom("a map's value has no key"))?;
        self.items.push((key, value.serialize(self.outer.inside()?)?));
        Ok(())
    }

    fn end(self) -> Result<Plain, Error> {
        self.finish()
    }
}
