//! Shared values on a tape: each is written whole, and comes back as one of its own.

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Writes the value.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer, T: Serialize>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    T::serialize(value, serializer)
}

/// Reads a value.
///
/// # Errors
///
/// Those of the value.
pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Arc<T>, D::Error> {
    T::deserialize(deserializer).map(Arc::new)
}

/// Maps to shared values.
pub mod values {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::HashMap;
    use std::hash::Hash;

    /// Writes them.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer, K: Serialize, T: Serialize>(
        map: &HashMap<K, Arc<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(key, value)| (key, &**value)))
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// Those of keys and values.
    pub fn deserialize<'de, D: Deserializer<'de>, K: Deserialize<'de> + Eq + Hash, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<HashMap<K, Arc<T>>, D::Error> {
        let map = HashMap::<K, T>::deserialize(deserializer)?;
        Ok(map
            .into_iter()
            .map(|(key, value)| (key, Arc::new(value)))
            .collect())
    }
}
