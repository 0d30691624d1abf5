//! Bytes of ids as serde sees them: as they are in compact formats (the wire), as hexadecimal digits
//! in those that people read (rows of a database, traces). There an array of numbers is understood
//! too: rows were once written so.

use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

pub(super) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error>
where
    [u8; N]: Serialize,
{
    struct Digits<'b>(&'b [u8]);
    impl fmt::Display for Digits<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }
    if to.is_human_readable() { to.collect_str(&Digits(bytes)) } else { bytes.serialize(to) }
}

pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error>
where
    [u8; N]: Deserialize<'de>,
{
    if from.is_human_readable() { from.deserialize_any(Either::<N>) } else { <[u8; N]>::deserialize(from) }
}

struct Either<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Either<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits, or {N} numbers", 2 * N)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
        let digits = text.as_bytes();
        if digits.len() != 2 * N || digits.iter().any(u8::is_ascii_uppercase) {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return Err(wrong()) };
            *byte = (high << 4 | low) as u8;
        }
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<[u8; N], A::Error> {
        let mut bytes = [0; N];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = numbers.next_element()?.ok_or_else(|| A::Error::invalid_length(place, &self))?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{self, SeqDeserializer, StrDeserializer};
    use std::string::ToString;

    /// Three bytes as people see them.
    struct Shown([u8; 3]);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            serialize(&self.0, f)
        }
    }
    /// What is asked for where something else is found.
    struct Expected;
    impl fmt::Display for Expected {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Either::<3>.expecting(f)
        }
    }

    fn of_text(text: &str) -> Option<[u8; 3]> {
        deserialize(StrDeserializer::<value::Error>::new(text)).ok()
    }
    fn of_numbers(numbers: &[u8]) -> Option<[u8; 3]> {
        deserialize(SeqDeserializer::<_, value::Error>::new(numbers.iter().copied())).ok()
    }

    #[test]
    fn people_see_digits_and_digits_or_numbers_are_read() {
        let bytes = [0x0a, 0xf1, 0x5c];
        assert_eq!(Shown(bytes).to_string(), "0af15c");
        assert_eq!((of_text("0af15c"), of_numbers(&bytes)), (Some(bytes), Some(bytes)));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "0af1", "0af15", "0af15c00", "0AF15C", "0ag15c", "0af1\u{e9}"] {
            assert_eq!(of_text(text), None, "{text}");
        }
        assert_eq!((of_numbers(&[1, 2]), of_numbers(&[1, 2, 3, 4])), (None, None));
        assert_eq!(Expected.to_string(), "6 hexadecimal digits, or 3 numbers");
    }
}
