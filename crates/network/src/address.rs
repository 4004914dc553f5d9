//! Where a broker listens, and how `bootstrap.servers` is read (N-18).
//!
//! Nothing here resolves a name: that is the connector's job, once per connection.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A host and a port, as configured or as metadata names them. Cloning copies a reference to the host, not its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The port, never 0.
    pub port: u16,
}

/// Why an entry of `bootstrap.servers` is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The entry has no port.
    #[error("bootstrap.servers: \"{entry}\" has no port; write it as host:port")]
    NoPort {
        /// The entry as configured.
        entry: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("bootstrap.servers: \"{entry}\" has the port \"{port}\"; a port is a number from 1 to 65535")]
    BadPort {
        /// The entry as configured.
        entry: String,
        /// The part that should be a port.
        port: String,
    },
    /// The entry has no host, or one with characters that no host has.
    #[error("bootstrap.servers: \"{entry}\" has no valid host; write it as host:port")]
    BadHost {
        /// The entry as configured.
        entry: String,
    },
    /// An IPv6 address without brackets: its last group cannot be told from a port.
    #[error("bootstrap.servers: \"{entry}\" looks like an IPv6 address; write it as [address]:port")]
    BareIpv6 {
        /// The entry as configured.
        entry: String,
    },
    /// Not a single entry.
    #[error("bootstrap.servers: no address is given; write at least one as host:port")]
    Empty,
}

impl BrokerAddress {
    /// The longest host name that DNS allows, with a reserve; a longer one from a broker is not believed.
    pub const MAX_HOST_LEN: usize = 255;

    /// The address `host:port`.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads a comma-separated list. Empty entries are skipped; a bad entry is an error that names it.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, AddressError> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let addresses = entries.map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            Err(AddressError::Empty)
        } else {
            Ok(addresses)
        }
    }

    /// Reads one entry: `host:port` or `[v6]:port`, either with a `scheme://` in front, which is ignored.
    pub fn parse(entry: &str) -> Result<Self, AddressError> {
        let owned = || entry.to_owned();
        let rest = entry.trim();
        let rest = rest.split_once("://").map_or(rest, |(_scheme, rest)| rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                Self::split_bracketed(bracketed).ok_or(AddressError::BadHost { entry: owned() })?
            }
            None => rest
                .rsplit_once(':')
                .ok_or(AddressError::NoPort { entry: owned() })?,
        };
        let is_bracketed = rest.starts_with('[');
        if host.contains(':') && !is_bracketed {
            return Err(AddressError::BareIpv6 { entry: owned() });
        }
        if !Self::is_host(host) {
            return Err(AddressError::BadHost { entry: owned() });
        }
        if port.is_empty() {
            return Err(AddressError::NoPort { entry: owned() });
        }
        let number = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|port| port.parse::<u16>().ok()) {
            Some(number) if number > 0 => Ok(Self::new(host, number)),
            _ => Err(AddressError::BadPort {
                entry: owned(),
                port: port.to_owned(),
            }),
        }
    }

    /// An address as a broker names it, or `None` for one that nobody can connect to (empty or endless host, impossible port).
    pub fn advertised(host: &str, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        Self::is_host(host).then(|| Self::new(host, port))
    }

    fn split_bracketed(bracketed: &str) -> Option<(&str, &str)> {
        let (host, rest) = bracketed.split_once(']')?;
        if rest.is_empty() {
            return Some((host, ""));
        }
        rest.strip_prefix(':').map(|port| (host, port))
    }

    fn is_host(host: &str) -> bool {
        let may_occur = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%:".contains(&byte);
        !host.is_empty() && host.len() <= Self::MAX_HOST_LEN && host.bytes().all(may_occur)
    }
}

impl fmt::Display for BrokerAddress {
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

    fn error(entry: &str) -> String {
        BrokerAddress::parse(entry).expect_err("a bad entry").to_string()
    }

    /// N-18: both forms, and a scheme that is ignored.
    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (entry, host, port) in [
            ("localhost:9092", "localhost", 9092),
            (" broker-1.example:1 ", "broker-1.example", 1),
            ("PLAINTEXT://10.0.0.1:65535", "10.0.0.1", 65535),
            ("[::1]:9092", "::1", 9092),
            ("ssl://[fe80::1%eth0]:9093", "fe80::1%eth0", 9093),
        ] {
            assert_eq!(
                BrokerAddress::parse(entry),
                Ok(BrokerAddress::new(host, port)),
                "{entry}"
            );
        }
        assert_eq!(BrokerAddress::new("::1", 9092).to_string(), "[::1]:9092");
    }

    /// N-18: the error names the entry and what is wrong with it.
    #[test]
    fn a_bad_entry_is_named_in_the_error() {
        assert_eq!(
            error("broker"),
            "bootstrap.servers: \"broker\" has no port; write it as host:port"
        );
        assert!(error("broker:").contains("no port"));
        assert!(error("broker:0").contains("a number from 1 to 65535"));
        assert!(error("broker:65536").contains("\"65536\""));
        assert!(error("broker:+92").contains("\"+92\""));
        assert!(error("broker:9092/path").contains("\"9092/path\""));
        assert!(error(":9092").contains("no valid host"));
        assert!(error("a b:9092").contains("no valid host"));
        assert!(error("[::1:9092").contains("no valid host"));
        assert!(error("::1:9092").contains("write it as [address]:port"));
    }

    /// N-18: empty entries are skipped; a list without an entry is an error.
    #[test]
    fn empty_entries_of_a_list_are_skipped() {
        let list = BrokerAddress::parse_list(" a:1,, b:2 ,");
        assert_eq!(
            list,
            Ok(vec![BrokerAddress::new("a", 1), BrokerAddress::new("b", 2)])
        );
        assert_eq!(BrokerAddress::parse_list(" , "), Err(AddressError::Empty));
        assert!(BrokerAddress::parse_list("a:1,b").is_err());
    }

    /// Malicious broker suite: empty host, endless host, impossible port.
    #[test]
    fn an_address_that_nobody_can_connect_to_is_not_believed() {
        assert!(BrokerAddress::advertised("broker", 9092).is_some());
        assert_eq!(BrokerAddress::advertised("", 9092), None);
        assert_eq!(BrokerAddress::advertised(&"x".repeat(10 << 20), 9092), None);
        assert_eq!(BrokerAddress::advertised("broker", 0), None);
        assert_eq!(BrokerAddress::advertised("broker", 65536), None);
        assert_eq!(BrokerAddress::advertised("broker", -1), None);
    }
}
