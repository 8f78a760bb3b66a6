//! Settings from a TOML file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Deserializer, de};

use super::{ConfigError, Settings};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{EcnMode, SynCookies};
use crate::time::Duration;

/// Octets of a file: more than a million denied prefixes have. A device, or a pipe, may go on for ever.
const MOST_OCTETS: u64 = 64 << 20;

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or says something that is no setting: the line is named.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        let mut octets = Vec::new();
        let mut beginning = file.take(MOST_OCTETS + 1);
        beginning.read_to_end(&mut octets).map_err(unreadable)?;
        if octets.len() as u64 > MOST_OCTETS {
            return Err(ConfigError::TooLarge(path.to_owned()));
        }
        let text = String::from_utf8(octets)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Self::parse(path, &text)
    }

    /// Parses the text of a TOML file; `path` is for the error.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
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

pub(super) fn ecn<'de, D: Deserializer<'de>>(from: D) -> Result<Option<EcnMode>, D::Error> {
    let name = Cow::<'_, str>::deserialize(from)?;
    match &*name {
        "off" => Ok(Some(EcnMode::Off)),
        "passive" => Ok(Some(EcnMode::Passive)),
        "on" => Ok(Some(EcnMode::On)),
        _ => Err(de::Error::custom(format_args!(
            "there is no ECN \"{name}\"; there are: off, passive, on"
        ))),
    }
}

pub(super) fn syn_cookies<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<SynCookies>, D::Error> {
    let name = Cow::<'_, str>::deserialize(from)?;
    match &*name {
        "off" => Ok(Some(SynCookies::Off)),
        "auto" => Ok(Some(SynCookies::Auto)),
        "always" => Ok(Some(SynCookies::Always)),
        _ => Err(de::Error::custom(format_args!(
            "there are no SYN cookies \"{name}\"; there are: off, auto, always"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::super::{Config, Mode, Privileges};
    use super::*;
    use crate::services::http::Limits;
    use crate::tcp::{BufferLimit, Keepalive, Linger, SocketOptions};
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
            user = "www-data:adm"
            sandbox = false
            services = ["http:80", "echo:7"]
            [http]
            header-timeout = "3s"
            idle-timeout = "4s"
            body-timeout = "5s"
            body-rate = 600
            send-timeout = "7s"
            max-body = "8 KiB"
            head-memory = "1 MiB"
        "#;
        let config = Config::try_from(parse(text).unwrap()).unwrap();
        assert_eq!(config.interface, "eth0");
        assert_eq!(config.addresses.len(), 2);
        assert_eq!(config.cores, [0, 1]);
        assert_eq!((config.mode, config.idle), (Mode::ZeroCopy, Idle::Spin));
        assert_eq!(config.drain_timeout, Duration::from_secs(90));
        assert_eq!(config.max_connections, 1000);
        let user = "www-data:adm".parse().unwrap();
        assert_eq!(config.privileges, Privileges::Drop(Some(user)));
        assert!(!config.sandbox);
        let limits = Limits {
            header_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(4),
            body_timeout: Duration::from_secs(5),
            body_rate: 600,
            send_timeout: Duration::from_secs(7),
            max_body: 8_192,
            head_memory: 1 << 20,
        };
        assert_eq!(config.http, limits);
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
        assert_eq!(said.tcp.options.congestion, silent.tcp.options.congestion);
        assert_eq!(said.drain_timeout, silent.drain_timeout);
        assert_eq!(said.max_connections, silent.max_connections);
        assert_eq!(said.client_ports, silent.client_ports);
        assert_eq!(said.http, silent.http);
        // Those of `corelane serve`, not of the library.
        let nobody = "nobody".parse().unwrap();
        assert_eq!(said.privileges, Privileges::Drop(Some(nobody)));
        assert!(said.sandbox);
        assert_eq!(format!("{:?}", said.tcp), format!("{:?}", silent.tcp));
        assert_eq!(said.defence, silent.defence);
    }

    /// Those that have no default stand there as comments.
    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../docs/configuration.md");
        let example = page.split("```toml").nth(1).unwrap().split("```").next();
        let all: String = example
            .unwrap()
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(key) if !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let settings = parse(&all).unwrap();
        let tcp = format!("{:?}", settings.tcp);
        assert!(!tcp.contains("None"), "{tcp}");
        let http = format!("{:?}", settings.http);
        assert!(!http.contains("None"), "{http}");
        assert_eq!(settings.service.len(), 1);
        assert_eq!(settings.deny.prefixes.len(), 2);
        let defence = format!("{:?} {:?}", settings.deny, settings.syn_limit);
        assert!(!defence.contains("None"), "{defence}");
        Config::try_from(settings).unwrap();
    }

    #[test]
    fn all_of_tcp_can_be_said() {
        let text = r#"
            interface = "eth0"
            services = ["http:80", "echo:7"]
            [tcp]
            receive-memory = "32 MiB"
            delayed-ack = "20ms"
            time-wait = "30s"
            orphan-timeout = "10s"
            retries = 8
            syn-retries = 3
            synack-retries = 2
            syn-backlog = 100
            challenge-ack-limit = 7
            syn-cookies = "always"
            reset-limit = 9
            ecn = "on"
            mtu-probing = false
            sack = false
            timestamps = false
            window-scaling = false
            nodelay = true
            keepalive-idle = "10m"
            keepalive-count = 4
            user-timeout = "1500ms"
            linger = "0s"
            receive-buffer-max = "2 MiB"
            send-buffer = 65536
            max-segment = 1000
            fin-timeout = "5s"
            max-pacing-rate = "1 MiB"
            traffic-class = 0x48
            [service."http:80"]
            keepalive = true
            nodelay = false
            quickack = true
            linger = "3s"
            receive-buffer = "64 KiB"
            notsent-lowat = 16384
            window-clamp = 8192
            traffic-class = 0xb8
            hop-limit = 1
        "#;
        let config = Config::try_from(parse(text).unwrap()).unwrap();
        let tcp = &config.tcp;
        assert_eq!(tcp.receive_memory, 32 << 20);
        assert_eq!(tcp.delayed_ack, Duration::from_millis(20));
        assert_eq!(tcp.time_wait, Duration::from_secs(30));
        assert_eq!(tcp.orphan_timeout, Duration::from_secs(10));
        assert_eq!(
            (
                tcp.retransmissions,
                tcp.syn_retransmissions,
                tcp.syn_ack_retransmissions
            ),
            (8, 3, 2)
        );
        assert_eq!((tcp.syn_queue, tcp.challenge_acks_per_second), (100, 7));
        assert_eq!(
            (tcp.syn_cookies, tcp.resets_per_second),
            (SynCookies::Always, 9)
        );
        assert!(!tcp.sack && !tcp.timestamps && !tcp.window_scale);
        assert!(tcp.ecn == EcnMode::On && !tcp.mtu_probing);
        let general = SocketOptions {
            nodelay: true,
            user_timeout: Some(Duration::from_millis(1_500)),
            linger: Linger::Reset,
            receive_buffer: BufferLimit::Auto(2 << 20),
            send_buffer: BufferLimit::Fixed(65_536),
            max_segment: Some(1_000),
            fin_wait_2: Duration::from_secs(5),
            max_pacing_rate: Some(1 << 20),
            traffic_class: 0x48,
            ..SocketOptions::default()
        };
        assert_eq!(tcp.options, general);
        let special = SocketOptions {
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(600),
                count: 4,
                ..Keepalive::default()
            }),
            nodelay: false,
            quickack: true,
            linger: Linger::For(Duration::from_secs(3)),
            receive_buffer: BufferLimit::Fixed(65_536),
            notsent_lowat: Some(16_384),
            window_clamp: Some(8_192),
            traffic_class: 0xb8,
            hop_limit: NonZeroU8::MIN,
            ..general
        };
        let of_services: Vec<_> = config.service_options.into_values().collect();
        assert_eq!(of_services, [special]);
    }

    /// The command line's services come without the file's settings for others.
    #[test]
    fn settings_of_a_service_need_the_service() {
        let file = parse("interface = \"a\"\nservices = [\"http:80\"]\n[service.\"http:80\"]\n");
        let file = file.unwrap();
        assert_eq!(file.service.len(), 1);
        let cli = Settings {
            services: vec!["echo:7".parse().unwrap()],
            ..Settings::default()
        };
        assert!(Config::try_from(cli.or(file.clone())).is_ok());
        let stray = Settings {
            services: vec!["echo:7".parse().unwrap()],
            ..file
        };
        let message = Config::try_from(stray).unwrap_err().to_string();
        assert!(message.contains("http:80"), "{message}");
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
            (
                "[deny]\n\nprefixes = [\"198.18.0.5/24\"]",
                3,
                &["198.18.0.5/24", "198.18.0.0/24"],
            ),
            ("[deny]\nprefixes = [\"here\"]", 2, &["here", "fd00::1"]),
            ("[deny]\nprefix = []", 2, &["prefix", "prefixes"]),
            ("[deny]\nmax-prefixes = 0", 2, &["max-prefixes", "from 1"]),
            ("[syn-limit]\nrate = 0", 2, &["rate", "from 1 to 1000000"]),
            ("[syn-limit]\nipv4-prefix = 33", 2, &["from 0 to 32"]),
            ("[tcp]\n\nnodely = true", 3, &["nodely", "nodelay"]),
            ("[tcp]\ncongestion = \"reno\"", 2, &["congestion"]),
            ("[tcp]\nnodelay = 1", 2, &["nodelay", "bool"]),
            (
                "[tcp]\ntime-wait = \"1h\"",
                2,
                &["time-wait", "1h", "1s", "10m"],
            ),
            ("[tcp]\ntime-wait = 60", 2, &["time-wait", "60", "500ms"]),
            ("[tcp]\ndelayed-ack = \"500ms\"", 2, &["1ms", "499ms"]),
            ("[tcp]\ndelayed-ack = \"1ns\"", 2, &["1ns", "499ms"]),
            ("[tcp]\nhop-limit = 0", 2, &["hop-limit", "from 1 to 255"]),
            (
                "[tcp]\nsyn-cookies = \"1\"",
                2,
                &["\"1\"", "off, auto, always"],
            ),
            ("[tcp]\nreset-limit = 0", 2, &["reset-limit", "from 1"]),
            ("[tcp]\necn = \"yes\"", 2, &["yes", "off, passive, on"]),
            ("[tcp]\nretries = 0", 2, &["retries", "from 1 to 255"]),
            ("[tcp]\nretries = -1", 2, &["retries", "-1", "255"]),
            ("[tcp]\nretries = \"many\"", 2, &["many", "whole number"]),
            ("[tcp]\nmax-segment = 70000", 2, &["70000", "88", "65495"]),
            (
                "[tcp]\nreceive-buffer-max = \"2 GiB\"",
                2,
                &["2 GiB", "4 KiB"],
            ),
            ("[tcp]\nreceive-buffer = \"6 MB\"", 2, &["6 MB", "MiB"]),
            (
                "[tcp]\nsend-buffer = 1",
                2,
                &["send-buffer", "1 is not from 4 KiB"],
            ),
            ("[service.\"gopher:70\"]\nnodelay = true", 1, &["gopher:70"]),
            (
                "[service.\"http:80\"]\n\ntime-wait = \"1s\"",
                3,
                &["time-wait"],
            ),
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

    #[test]
    fn a_file_without_end_is_refused() {
        let error = Settings::read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge(_)), "{error}");
        assert!(error.to_string().contains("/dev/zero"));
    }
}
