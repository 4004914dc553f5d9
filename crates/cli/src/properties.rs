//! Producer settings from the command line and from a file, by Kafka's own names.
//!
//! Precedence, weakest first: the command's own defaults, the file of `--config`, `--producer-property` in their order, and the options that the
//! command has by name (`--bootstrap-servers`, `--linger-ms` …). Whether a key exists and a value is legal, the façade decides.

use std::path::Path;
use std::str::FromStr;

use crate::args::ProducerOptions;
use crate::failure::Failure;

/// One producer setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    /// Kafka's name of the setting.
    pub(crate) key: String,
    /// Its value as text.
    pub(crate) value: String,
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(format!("'{text}' is not KEY=VALUE, for example linger.ms=20")),
        }
    }
}

/// The settings of one producer, in the order in which they override each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties(Vec<Property>);

impl Properties {
    /// The settings of `--config` and `--producer-property`, over the command's own `defaults`.
    pub(crate) fn collect(options: &ProducerOptions, defaults: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut properties = Self::default();
        for (key, value) in defaults {
            properties.put(key, *value);
        }
        if let Some(path) = &options.config {
            for property in read_file(path)? {
                properties.put(&property.key, property.value);
            }
        }
        for property in &options.properties {
            properties.put(&property.key, property.value.clone());
        }
        Ok(properties)
    }

    /// Sets `key`, replacing an earlier value.
    pub(crate) fn put(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|property| property.key == key) {
            Some(property) => property.value = value,
            None => self.0.push(Property {
                key: key.to_owned(),
                value,
            }),
        }
    }

    /// The value of `key`, if it was set.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|property| property.key == key)
            .map(|property| property.value.as_str())
    }

    /// The value of `key` as a number, or `default` when it is not set. A text that is no number is left for the façade to refuse.
    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        self.value(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }

    /// All settings, each key once.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|property| (property.key.as_str(), property.value.as_str()))
    }
}

fn read_file(path: &Path) -> Result<Vec<Property>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::failed(
            format!("the settings file {} cannot be read: {error}", path.display()),
            "correct the path given with --config",
        )
    })?;
    parse_lines(&text).map_err(|(line, reason)| {
        Failure::failed(
            format!("line {line} of the settings file {}: {reason}", path.display()),
            "correct the line; comments begin with #",
        )
    })
}

fn parse_lines(text: &str) -> Result<Vec<Property>, (usize, String)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !matches!(line.trim().chars().next(), None | Some('#' | '!')))
        .map(|(index, line)| line.parse().map_err(|reason| (index + 1, reason)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_settings_and_comments() {
        let properties =
            parse_lines("# mine\n\nacks = all\n linger.ms=5\nsasl.jaas.config=a=b\n").expect("legal lines");
        let pairs: Vec<_> = properties
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("acks", "all"), ("linger.ms", "5"), ("sasl.jaas.config", "a=b")]
        );
    }

    #[test]
    fn a_line_that_is_no_setting_is_named_by_its_number() {
        let (line, reason) = parse_lines("acks=all\nnonsense\n").expect_err("no setting");
        assert_eq!(line, 2);
        assert!(reason.contains("nonsense"));
    }

    #[test]
    fn a_later_setting_replaces_an_earlier_one() {
        let options = ProducerOptions {
            properties: vec!["linger.ms=9".parse().expect("legal")],
            config: None,
        };
        let mut properties =
            Properties::collect(&options, &[("linger.ms", "5"), ("acks", "all")]).expect("no file");
        assert_eq!(properties.number("linger.ms", 0), 9);
        properties.put("linger.ms", "1");
        assert_eq!(
            properties.pairs().collect::<Vec<_>>(),
            [("linger.ms", "1"), ("acks", "all")]
        );
    }
}
