//! Settings from a TOML file.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Deserializer, de};

use super::{ConfigError, Settings};
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or says something that is no setting: the line is named.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a TOML file; `path` is for the error.
    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.as_bytes()[..at].iter();
            let line = before.filter(|&&octet| octet == b'\n').count();
            ConfigError::Nonsense {
                path: path.to_owned(),
                line: line + 1,
                text: text.lines().nth(line).unwrap_or("").trim().to_owned(),
                // One line, whatever the parser says.
                message: error.message().replace('\n', ", "),
            }
        })
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    humantime_serde::deserialize::<std::time::Duration, D>(from)
        .map(|duration| Some(duration.into()))
}

pub(super) fn algorithm<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Algorithm>, D::Error> {
    let name = Cow::<'_, str>::deserialize(from)?;
    name.parse().map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Mode};
    use super::*;
    use crate::worker::Idle;

    fn parse(text: &str) -> Result<Settings, ConfigError> {
        Settings::parse(Path::new("corelane.toml"), text)
    }

    #[test]
    fn all_settings_can_be_said() {
        let text = r#"
            interface = "eth0"
            address = ["198.18.0.1", "fd00::1"]
            cores = [0, 1]
            mode = "zero-copy"
            idle = "spin"
            congestion = "reno"
            drain-timeout = "1m 30s"
            max-connections = 1000
            services = ["http:80", "echo:7"]
        "#;
        let config = Config::try_from(parse(text).unwrap()).unwrap();
        assert_eq!(config.interface, "eth0");
        assert_eq!(config.addresses.len(), 2);
        assert_eq!(config.cores, [0, 1]);
        assert_eq!((config.mode, config.idle), (Mode::ZeroCopy, Idle::Spin));
        assert_eq!(config.drain_timeout, Duration::from_secs(90));
        assert_eq!(config.max_connections, 1000);
        assert_eq!(config.services.len(), 2);
    }

    /// The example says every key, with the defaults where there are any.
    #[test]
    fn the_documented_example_is_right() {
        let page = include_str!("../../docs/configuration.md");
        let example = page.split("```").nth(1).unwrap();
        let settings = parse(example.strip_prefix("toml").unwrap()).unwrap();
        assert_eq!(settings.address.len(), 2);
        assert_eq!(settings.cores, [0, 1]);
        assert_eq!(settings.services.len(), 4);
        assert!(settings.mode.is_some() && settings.idle.is_some());
        assert!(settings.congestion.is_some());
        assert!(settings.drain_timeout.is_some() && settings.max_connections.is_some());
        let said = Config::try_from(settings).unwrap();
        let silent = Config::new(&said.interface);
        assert_eq!((said.mode, said.idle), (silent.mode, silent.idle));
        assert_eq!(said.tcp.congestion, silent.tcp.congestion);
        assert_eq!(said.drain_timeout, silent.drain_timeout);
        assert_eq!(said.max_connections, silent.max_connections);
        assert_eq!(said.client_ports, silent.client_ports);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("").unwrap(), Settings::default());
    }

    #[test]
    fn nonsense_is_named_by_line_and_key() {
        for (text, line, words) in [
            ("# a\n\nnonsense = 1\n", 3, &["nonsense", "unknown"][..]),
            ("# a\ninterface = = 1\n", 2, &["interface"]),
            ("interface = 5\n", 1, &["interface", "string"]),
            ("interface = \"a\"\ninterface = \"b\"", 2, &["duplicate"]),
            ("\nmode = \"fast\"", 2, &["fast", "zero-copy"]),
            ("idle = \"lazy\"", 1, &["lazy", "interrupt"]),
            ("congestion = \"vegas\"", 1, &["vegas", "cubic"]),
            ("drain-timeout = \"soon\"", 1, &["soon"]),
            ("client-ports = \"80\"", 1, &["80", "61000-65535"]),
            ("drain-timeout = 10", 1, &["drain-timeout"]),
            ("address = [\"300.1.1.1\"]", 1, &["300.1.1.1"]),
            ("cores = [-1]", 1, &["cores"]),
            (
                "\nservices = [\n\"http:80\",\n\"gopher:70\"]",
                2,
                &["gopher:70"],
            ),
            ("[table]\na = 1\n", 1, &["table"]),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("corelane.toml, line {line}, ")),
                "{message}"
            );
            assert_eq!(message.lines().count(), 1, "{message}");
            for word in words {
                assert!(message.contains(word), "no {word} in {message}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Settings::read(Path::new("/nonexistent/corelane.toml")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/corelane.toml"));
    }
}
