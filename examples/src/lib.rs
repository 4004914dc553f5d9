//! Where the examples find a broker: the one named on the command line, or an embedded one.

use std::io;

use kommit_broker::{BrokerConfig, EmbeddedBroker};

/// A broker to run an example against. An embedded one lives as long as this value.
#[derive(Debug)]
pub struct Stage {
    bootstrap_servers: String,
    _embedded: Option<EmbeddedBroker>,
}

impl Stage {
    /// Takes `HOST:PORT` from the first argument, or starts an embedded broker with these topics of three partitions each.
    ///
    /// # Errors
    ///
    /// When no port can be bound, or a topic name is not legal.
    pub async fn enter(topics: &[&str]) -> io::Result<Self> {
        if let Some(bootstrap_servers) = std::env::args().nth(1) {
            return Ok(Self {
                bootstrap_servers,
                _embedded: None,
            });
        }
        let broker = EmbeddedBroker::start(BrokerConfig::default()).await?;
        for topic in topics {
            broker
                .create_topic(topic, 3)
                .map_err(|code| io::Error::other(code.text()))?;
        }
        println!(
            "no broker given, so an embedded one runs at {}",
            broker.bootstrap_servers()
        );
        Ok(Self {
            bootstrap_servers: broker.bootstrap_servers(),
            _embedded: Some(broker),
        })
    }

    /// Where to connect.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }
}
