use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toml::{Table, Value};

use super::{RunFolderError, config::TrainingConfigError};

/// Values that must not change when a run is resumed, by their names.
///
/// # Example
///
/// ```
/// use bitnet_burn::train::{RunIdentity, config::TrainingConfig};
///
/// let mut config = TrainingConfig::default();
/// let began = RunIdentity::of(&config)?;
/// config.training.seed = 1;
/// let error = began.check(&RunIdentity::of(&config)?).unwrap_err();
/// assert!(error.to_string().contains("training.seed was 0 and is 1"));
/// # Ok::<(), bitnet_burn::train::config::TrainingConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdentity(BTreeMap<String, String>);

impl RunIdentity {
    /// Returns the identity of settings that are a table in TOML.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn of(settings: &impl Serialize) -> Result<Self, TrainingConfigError> {
        let table = Table::try_from(settings).map_err(|error| TrainingConfigError::Parse {
            field: String::new(),
            message: error.to_string(),
        })?;
        let mut values = BTreeMap::new();
        flatten("", &Value::Table(table), &mut values);
        Ok(Self(values))
    }

    /// Returns the values on one line, for a
    /// [`CheckpointPolicy`](super::checkpoint::CheckpointPolicy::fingerprint).
    pub fn fingerprint(&self) -> String {
        let fields = self
            .0
            .iter()
            .map(|(name, value)| format!("{name} = {value}"));
        fields.collect::<Vec<_>>().join(", ")
    }

    /// Checks that a resumed run has the values that it began with.
    ///
    /// # Errors
    ///
    /// [`RunFolderError::OtherSettings`] with all that differ.
    pub fn check(&self, now: &Self) -> Result<(), RunFolderError> {
        let names: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let value = |of: &Self, name| of.0.get(name).map_or("absent".to_string(), String::clone);
        let changes = names.into_iter().filter_map(|name| {
            let (began, now) = (value(self, name), value(now, name));
            (began != now).then(|| format!("{name} was {began} and is {now}"))
        });
        let changes = changes.collect::<Vec<_>>().join(", ");
        match changes.is_empty() {
            true => Ok(()),
            false => Err(RunFolderError::OtherSettings { changes }),
        }
    }
}

fn flatten(path: &str, value: &Value, values: &mut BTreeMap<String, String>) {
    let Value::Table(table) = value else {
        values.insert(path.to_string(), value.to_string());
        return;
    };
    for (name, value) in table {
        match path {
            "" => flatten(name, value, values),
            path => flatten(&format!("{path}.{name}"), value, values),
        }
    }
}
