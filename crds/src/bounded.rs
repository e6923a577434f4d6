//! JSON of anybody, of which a value in memory has up to a hundred times its text: read as far as that is bounded.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads an object of at most so many values, each in it counted.
pub(crate) fn object<'de, D: Deserializer<'de>>(from: D, most: usize) -> Result<Map<String, Value>, D::Error> {
    match (Bounded { left: &Cell::new(most), most }).deserialize(from)? {
        Value::Object(object) => Ok(object),
        _ => Err(D::Error::custom("an object is expected")),
    }
}

#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format!("it has more than {} values; make it smaller", self.most)));
        };
        self.left.set(left);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            object.insert(name, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_as_it_was_and_of_bounded_size() {
        let value = json!({ "a": [1, -2, 1.5, true, null, "x", {}], "b": { "c": {} } });
        let read = |most| object(&mut serde_json::Deserializer::from_str(&value.to_string()), most);
        assert_eq!(Some(&read(11).unwrap()), value.as_object());
        assert_eq!(Some(&object(value.clone(), 11).unwrap()), value.as_object(), "from a value as well");
        assert!(read(10).unwrap_err().to_string().contains("more than 10 values"));
        let deep = "[".repeat(100_000);
        assert!(object(&mut serde_json::Deserializer::from_str(&deep), usize::MAX).is_err());
    }
}
