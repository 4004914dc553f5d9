//! Where a broker listens, as people write it.

use std::fmt;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The name or number of the host.
    pub(super) host: String,
    /// The TCP port.
    pub(super) port: u16,
}

impl Address {
    /// The address of `port` on `host`.
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }

    /// The addresses in `text`, separated by commas; else what is wrong with it.
    pub(super) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        text.split(',').map(|entry| Self::parse(entry.trim())).collect()
    }

    fn parse(entry: &str) -> Result<Self, String> {
        let parts = entry
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() && port > 0 => {
                let bare = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'))
                    .unwrap_or(host);
                Ok(Self::new(bare, port))
            }
            _ => Err(format!(
                "'{entry}' is not HOST:PORT: write each broker like 127.0.0.1:9092, separated by commas"
            )),
        }
    }
}

/// The text, if it is a list of addresses.
pub(crate) fn bootstrap_servers(text: &str) -> Result<String, String> {
    Address::parse_list(text).map(|_| text.to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let list = Address::parse_list("a:1, [::1]:9092").expect("legal");
        assert_eq!(list, [Address::new("a", 1), Address::new("::1", 9092)]);
        assert_eq!(list[1].to_string(), "[::1]:9092");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in ["", "a", "a:", ":1", "a:0", "a:70000", "a:1,,b:2"] {
            let reason = Address::parse_list(text).expect_err(text);
            assert!(reason.contains("HOST:PORT"), "{reason}");
        }
    }
}
