//! Fixed words that come back from a tape: a text becomes the `&'static str` that the rest of the agent works with.
//!
//! A word is kept for the life of the program, once. Words are few and short in anything this agent wrote; a tape that
//! says otherwise is refused, so that it cannot fill the memory.

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

/// A fixed word. (Under a name of its own, because serde takes a field `&'static str` for a borrow from its input.)
pub type Label = &'static str;

/// Different words that are kept.
const WORDS_MAX: usize = 4_096;
/// The longest, bytes.
const BYTES_MAX: usize = 128;

static WORDS: Mutex<BTreeSet<Label>> = Mutex::new(BTreeSet::new());

/// The word, for ever; `None` = there is no room for it.
fn word(text: &str) -> Option<Label> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let mut words = WORDS.lock().ok()?;
    if let Some(known) = words.get(text) {
        return Some(known);
    }
    if words.len() >= WORDS_MAX {
        return None;
    }
    let word: Label = Box::leak(text.into());
    words.insert(word);
    Some(word)
}

/// A word as it comes from a tape.
struct Word(Label);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let word = word(&text).ok_or_else(|| D::Error::custom("too many fixed words, or too long ones"))?;
        Ok(Self(word))
    }
}

/// Writes a word.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(word: &Label, serializer: S) -> Result<S::Ok, S::Error> {
    word.serialize(serializer)
}

/// Reads a word.
///
/// # Errors
///
/// No text, or no room for more words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
    Word::deserialize(deserializer).map(|word| word.0)
}

/// Maps whose keys are words.
pub mod keys {
    use super::{BTreeMap, Deserialize, Deserializer, Label, MapAccess, Serialize, SerializeMap, Serializer};
    use super::{Visitor, Word, fmt};
    use std::marker::PhantomData;

    /// Writes them.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer, V: Serialize>(
        map: &BTreeMap<Label, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(map.len()))?;
        for (key, value) in map {
            out.serialize_entry(key, value)?;
        }
        out.end()
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// No such map, or no room for more words.
    pub fn deserialize<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Label, V>, D::Error> {
        struct Words<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Words<V> {
            type Value = BTreeMap<Label, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with fixed words as keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut words = BTreeMap::new();
                while let Some((Word(key), value)) = map.next_entry()? {
                    words.insert(key, value);
                }
                Ok(words)
            }
        }
        deserializer.deserialize_map(Words(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text gives the same word; one that is too long gives none.
    #[test]
    fn word_of_equal_texts_is_one() {
        let (a, b) = (word("spawned").unwrap(), word(&String::from("spawned")).unwrap());
        assert!(std::ptr::eq(a, b));
        assert_eq!(word(&"x".repeat(BYTES_MAX + 1)), None);
    }
}
