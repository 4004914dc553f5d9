//! What was understood, but does not do what its author may expect: told, and not refused.

use std::fmt;

/// A setting that was accepted although it has no effect here, or another one than its text says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigWarning {
    /// The key as it was given.
    pub key: String,
    /// What it does here, and what to write instead.
    pub text: String,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// The warnings of one configuration. Each is logged when it is found.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<ConfigWarning>);

impl Warnings {
    pub(super) fn warn(&mut self, key: &str, text: impl Into<String>) {
        let text = text.into();
        tracing::warn!(key, "{text}");
        self.0.push(ConfigWarning {
            key: key.to_owned(),
            text,
        });
    }

    pub(super) fn into_list(self) -> Vec<ConfigWarning> {
        self.0
    }
}
