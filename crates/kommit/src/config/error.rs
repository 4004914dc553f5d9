//! What is wrong with a setting, said so that it can be mended: the key, the value, and what is allowed.

use thiserror::Error;

/// A setting that cannot be used, found before anything is connected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value of one key is outside what the key allows.
    #[error("{key} = \"{value}\" is not valid: {allowed}")]
    Value {
        /// The key, under Kafka's name.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What would be valid.
        allowed: String,
    },
    /// Two or more keys contradict each other.
    #[error("{keys} do not go together: {reason}")]
    Combination {
        /// The keys, with their values.
        keys: String,
        /// Why, and what to change.
        reason: String,
    },
    /// No producer knows this key.
    #[error("unknown key \"{key}\"{hint}")]
    UnknownKey {
        /// The key as given.
        key: String,
        /// What was perhaps meant; empty, or a clause that begins with a colon.
        hint: String,
    },
    /// A key of Kafka or librdkafka that this producer does not follow, with a value that cannot be ignored.
    #[error("{key} = \"{value}\" cannot be followed: {reason}")]
    NotFollowed {
        /// The key as given.
        key: String,
        /// The value as given.
        value: String,
        /// Why, and what to write instead.
        reason: String,
    },
    /// A key in the spelling of librdkafka whose value Kafka's key cannot say.
    #[error("{key} = \"{value}\" is not valid: it is {kafka} here, which takes {allowed}")]
    Untranslatable {
        /// The key as given.
        key: String,
        /// The value as given.
        value: String,
        /// Kafka's name of the key.
        kafka: &'static str,
        /// What would be valid.
        allowed: &'static str,
    },
    /// A key without which there is no producer.
    #[error("{key} is missing: {needed}")]
    Missing {
        /// The key, under Kafka's name.
        key: &'static str,
        /// What it is needed for.
        needed: &'static str,
    },
    /// A line of a properties text that is not `key=value`.
    #[error("line {line} of the properties is not of the form key=value: \"{text}\"")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// An environment variable with the prefix of settings that is none.
    #[error("the environment variable {variable} is not a setting: {problem}")]
    Variable {
        /// The variable's name.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ConfigError {
    pub(super) fn value(key: &'static str, value: &str, allowed: impl Into<String>) -> Self {
        Self::Value {
            key,
            value: value.to_owned(),
            allowed: allowed.into(),
        }
    }

    pub(super) fn not_followed(key: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::NotFollowed {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn untranslatable(key: &str, value: &str, kafka: &'static str, allowed: &'static str) -> Self {
        Self::Untranslatable {
            key: key.to_owned(),
            value: value.to_owned(),
            kafka,
            allowed,
        }
    }

    pub(super) fn combination(keys: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Combination {
            keys: keys.into(),
            reason: reason.into(),
        }
    }
}
