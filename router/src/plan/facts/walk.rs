//! serde's side of the walk: every value of the tree comes by here, and what is of use goes to [`Walker`].

use serde::Serialize;
use serde::ser::{self, Impossible};

use super::{Frame, Walker};

/// There is no way for the walk to fail; serde wants a type.
#[derive(Debug, thiserror::Error)]
#[error("never")]
pub(super) struct Never;

impl ser::Error for Never {
    fn custom<T: std::fmt::Display>(_message: T) -> Self {
        Self
    }
}

type Walked = Result<(), Never>;

macro_rules! numbers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Walked {
            self.number(i64::from(value));
            Ok(())
        })*
    };
}

impl ser::Serializer for &mut Walker {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), Never>;
    type SerializeTupleVariant = Impossible<(), Never>;
    type SerializeMap = Impossible<(), Never>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Never>;

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
             serialize_u8: u8, serialize_u16: u16, serialize_u32: u32);

    fn serialize_bool(self, value: bool) -> Walked {
        self.flag(value);
        Ok(())
    }
    fn serialize_u64(self, _value: u64) -> Walked {
        Ok(())
    }
    fn serialize_f32(self, _value: f32) -> Walked {
        Ok(())
    }
    fn serialize_f64(self, _value: f64) -> Walked {
        Ok(())
    }
    fn serialize_char(self, _value: char) -> Walked {
        Ok(())
    }
    fn serialize_str(self, value: &str) -> Walked {
        self.text(value);
        Ok(())
    }
    fn serialize_bytes(self, _value: &[u8]) -> Walked {
        Ok(())
    }
    fn serialize_none(self) -> Walked {
        Ok(())
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Walked {
        self.present();
        value.serialize(self)
    }
    fn serialize_unit(self) -> Walked {
        Ok(())
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Walked {
        Ok(())
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Walked {
        Ok(())
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Walked {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Walked {
        value.serialize(self)
    }
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Never> {
        if length.is_some_and(|length| length > 0) {
            self.present();
        }
        Ok(self)
    }
    fn serialize_tuple(self, _length: usize) -> Result<Self, Never> {
        Ok(self)
    }
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct, Never> {
        Err(Never)
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, Never> {
        Err(Never)
    }
    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap, Never> {
        Err(Never)
    }
    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Self, Never> {
        self.stack.push(Frame {
            kind: name,
            ..Frame::default()
        });
        Ok(self)
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, Never> {
        Err(Never)
    }
}

impl ser::SerializeSeq for &mut Walker {
    type Ok = ();
    type Error = Never;
    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Walked {
        value.serialize(&mut **self)
    }
    fn end(self) -> Walked {
        Ok(())
    }
}

impl ser::SerializeTuple for &mut Walker {
    type Ok = ();
    type Error = Never;
    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Walked {
        value.serialize(&mut **self)
    }
    fn end(self) -> Walked {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Walker {
    type Ok = ();
    type Error = Never;
    fn serialize_field<T: ?Sized + Serialize>(&mut self, key: &'static str, value: &T) -> Walked {
        if let Some(frame) = self.stack.last_mut() {
            frame.field = key;
        }
        value.serialize(&mut **self)
    }
    fn end(self) -> Walked {
        self.leave();
        Ok(())
    }
}
