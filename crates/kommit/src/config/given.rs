//! The values that were given, each under the key that it is for, and read as what the key holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::foreign::{self, Foreign};
use super::keys::{Holds, Key, Spelling};
use super::librdkafka::{self, Translation};
use super::warning::Warnings;
use super::{ConfigError, hint};

#[derive(Debug)]
struct Value<'a> {
    text: Cow<'a, str>,
    /// The key and value as they were given, where they were spelled otherwise.
    spelled: Option<(&'a str, &'a str)>,
}

/// The values that were given, each known to belong to a key of this producer.
#[derive(Debug)]
pub(super) struct Given<'a>(BTreeMap<Key, Value<'a>>);

impl<'a> Given<'a> {
    /// Sorts what was given by key. What is of no use here is warned of; what cannot be ignored is an error.
    pub(super) fn new(
        texts: &'a BTreeMap<String, String>,
        warnings: &mut Warnings,
    ) -> Result<Self, ConfigError> {
        let mut given = Self(BTreeMap::new());
        for (name, text) in texts {
            // C-49: string values are trimmed.
            let text = text.trim();
            if let Some(key) = Key::named(name) {
                given.put(key, Cow::Borrowed(text), None)?;
            } else if let Some(translation) = librdkafka::translation(name) {
                given.translated(name, text, translation, warnings)?;
            } else {
                match foreign::foreign(name) {
                    Some(foreign) => foreign.judge(name, text, warnings)?,
                    None => return Err(hint::unknown(name)),
                }
            }
        }
        Ok(given)
    }

    /// Takes a setting in the spelling of librdkafka over, and says what Kafka calls it.
    fn translated(
        &mut self,
        name: &'a str,
        text: &'a str,
        translation: Translation,
        warnings: &mut Warnings,
    ) -> Result<(), ConfigError> {
        match translation {
            Translation::Key(key, unit) => {
                let translated = unit
                    .translate(text)
                    .map_err(|allowed| ConfigError::untranslatable(name, text, key.name(), allowed))?;
                let hint = format!(
                    "this is librdkafka's name; Kafka's is {} = {translated}",
                    key.name()
                );
                warnings.warn(name, hint);
                self.put(key, translated, Some((name, text)))
            }
            Translation::Foreign(foreign) => foreign.judge(name, text, warnings),
        }
    }

    fn put(
        &mut self,
        key: Key,
        text: Cow<'a, str>,
        spelled: Option<(&'a str, &'a str)>,
    ) -> Result<(), ConfigError> {
        let value = Value { text, spelled };
        let Some(other) = self.0.insert(key, value) else {
            return Ok(());
        };
        let now = spelled.map_or(key.name(), |(name, _)| name);
        let before = other.spelled.map_or(key.name(), |(name, _)| name);
        let reason = format!("both are {}; leave one of them out", key.name());
        Err(ConfigError::combination(format!("{before} and {now}"), reason))
    }

    /// Whether the key was given, be it with its default value (C-45).
    pub(super) fn has(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    pub(super) fn text(&self, key: Key) -> Option<&str> {
        self.0.get(&key).map(|value| &*value.text)
    }

    /// The key as it was spelled, for texts.
    pub(super) fn spelling(&self, key: Key) -> &str {
        let spelled = self.0.get(&key).and_then(|value| value.spelled);
        spelled.map_or(key.name(), |(name, _)| name)
    }

    /// The value of `key` is outside of what is `allowed`.
    pub(super) fn refuse(&self, key: Key, allowed: impl Into<String>) -> ConfigError {
        let text = self.text(key).unwrap_or_default();
        let mut allowed = allowed.into();
        if let Some((name, original)) = self.0.get(&key).and_then(|value| value.spelled) {
            allowed.push_str(&format!(" (it was given as {name} = \"{original}\")"));
        }
        ConfigError::value(key.name(), text, allowed)
    }

    /// The number under `key`, or its default; anything but a whole number in its range is an error.
    pub(super) fn number(&self, key: Key) -> Result<i64, ConfigError> {
        let Holds::Number {
            default, least, most, ..
        } = key.holds()
        else {
            unreachable!("{} holds no number", key.name());
        };
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        match text.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.refuse(key, format!("a whole number from {least} to {most}"))),
        }
    }

    pub(super) fn millis(&self, key: Key) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(
            u64::try_from(self.number(key)?).unwrap_or(0),
        ))
    }

    pub(super) fn size(&self, key: Key) -> Result<usize, ConfigError> {
        Ok(usize::try_from(self.number(key)?).unwrap_or(usize::MAX))
    }

    pub(super) fn switch(&self, key: Key) -> Result<bool, ConfigError> {
        let Holds::Switch { default } = key.holds() else {
            unreachable!("{} holds no switch", key.name());
        };
        match self.text(key).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.refuse(key, "true or false")),
        }
    }

    /// The text under `key` as its list spells it, or its default; a text outside of the list is an error.
    pub(super) fn choice(&self, key: Key) -> Result<&'static str, ConfigError> {
        let Holds::OneOf {
            default,
            allowed,
            spelling,
        } = key.holds()
        else {
            unreachable!("{} holds no choice", key.name());
        };
        let text = self.text(key).unwrap_or(default);
        let is_meant = |listed: &&&str| match spelling {
            Spelling::Exact => **listed == text,
            Spelling::AnyCase => listed.eq_ignore_ascii_case(text),
        };
        match allowed.iter().find(is_meant) {
            Some(listed) => Ok(listed),
            None => Err(self.refuse(key, format!("one of {}", allowed.join(", ")))),
        }
    }
}

impl Foreign {
    /// A key that this producer does not follow: without meaning here, fine with this value, or refused.
    fn judge(self, name: &str, text: &str, warnings: &mut Warnings) -> Result<(), ConfigError> {
        match self {
            Foreign::WithoutMeaning(why) => {
                warnings.warn(name, format!("it has no meaning here: {why}"));
                Ok(())
            }
            Foreign::Only(allowed, _) if allowed.iter().any(|value| value.eq_ignore_ascii_case(text)) => {
                Ok(())
            }
            Foreign::Only(allowed, why) => {
                let allowed = match allowed {
                    [] => why.to_owned(),
                    _ => format!("only {} is possible here, because {why}", allowed.join(" or ")),
                };
                Err(ConfigError::not_followed(name, text, allowed))
            }
        }
    }
}
