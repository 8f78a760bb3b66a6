//! Settings: raw from the command line and a TOML file, then one [`Config`] whose values are legal.
//!
//! Each raw value is parsed where it is read, so that the error can say where it stands. What needs
//! more than one value is checked once, by [`Config::try_from`]. What needs the machine (does the
//! interface have this address, is there such a core) is the server's to find out.

mod defence;
mod error;
mod file;
mod http;
mod port_range;
mod tcp;
mod user;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

pub use self::defence::{Defence, DenySettings, SynLimitSettings};
pub use self::error::{ConfigError, UnknownMode};
pub use self::http::HttpSettings;
pub use self::port_range::PortRange;
pub use self::tcp::{ServiceSettings, TcpSettings};
pub use self::user::{Privileges, User};
use crate::services::Kind;
use crate::services::http::Limits;
use crate::tcp::SocketOptions;
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;
use crate::worker::Idle;

/// Connections per worker unless set otherwise.
const MAX_CONNECTIONS: usize = 262_144;
/// The most that can be set: connections are numbered by 32 bits, and 2^24 of them with nothing to
/// do take 8 GiB.
const MOST_CONNECTIONS: usize = 1 << 24;
/// How long connections may take to end after the first signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How frames are to cross between the device and us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Mode {
    /// The best that can be got: zero-copy, else copy, else generic.
    #[default]
    Auto,
    /// The device writes into our frames, or an error.
    ZeroCopy,
    /// The driver runs the XDP program and the kernel copies, or an error.
    Copy,
    /// The kernel runs the XDP program on its own buffers: every device can.
    Generic,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::ZeroCopy, Self::Copy, Self::Generic];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        let named = Self::ALL.into_iter().find(|mode| mode.name() == word);
        named.ok_or_else(|| UnknownMode(word.to_owned()))
    }
}

impl TryFrom<String> for Mode {
    type Error = UnknownMode;

    fn try_from(word: String) -> Result<Self, UnknownMode> {
        word.parse()
    }
}

/// A built-in server and its port: `http:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceSpec {
    /// Which server.
    pub kind: Kind,
    /// Where.
    pub port: NonZeroU16,
}

impl fmt::Display for ServiceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.port)
    }
}

impl FromStr for ServiceSpec {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Service(text.to_owned());
        let (name, port) = text.split_once(':').ok_or_else(bad)?;
        Ok(Self {
            kind: name.parse().map_err(|_| bad())?,
            port: port.parse().map_err(|_| bad())?,
        })
    }
}

impl TryFrom<String> for ServiceSpec {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// What was said, on the command line or in a file; nothing is required yet.
///
/// The keys of a file are the words of the command line:
///
/// ```toml
/// interface = "eth0"
/// address = ["198.18.0.1", "fd00::1"]
/// cores = [0, 1]
/// mode = "auto"
/// idle = "adaptive"
/// congestion = "cubic"
/// drain-timeout = "10s"
/// max-connections = 262144
/// client-ports = "61000-65535"
/// fast-open = 0
/// user = "nobody"
/// sandbox = true
/// services = ["http:80", "echo:7"]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// The interface to serve.
    pub interface: Option<String>,
    /// Addresses to serve; none: all of the interface.
    pub address: Vec<IpAddr>,
    /// CPUs to work on; none: one per queue.
    pub cores: Vec<usize>,
    /// See [`Mode`].
    pub mode: Option<Mode>,
    /// See [`Idle`].
    pub idle: Option<Idle>,
    /// Congestion control of new connections.
    #[serde(deserialize_with = "file::algorithm")]
    pub congestion: Option<Algorithm>,
    /// How long connections may take to end after the first signal.
    #[serde(deserialize_with = "file::duration")]
    pub drain_timeout: Option<Duration>,
    /// Connections that one worker may have.
    pub max_connections: Option<usize>,
    /// Local ports of connections that a program opens.
    pub client_ports: Option<PortRange>,
    /// Connections per listener and worker that may have text on their SYN and are not established.
    pub fast_open: Option<usize>,
    /// Who root is to become.
    pub user: Option<User>,
    /// Whether threads may make only the system calls that they need.
    pub sandbox: Option<bool>,
    /// What to serve.
    pub services: Vec<ServiceSpec>,
    /// What differs for single services.
    pub service: BTreeMap<ServiceSpec, ServiceSettings>,
    /// See [`TcpSettings`]; the command line has none of them.
    pub tcp: TcpSettings,
    /// See [`DenySettings`]; nor any of these.
    pub deny: DenySettings,
    /// See [`SynLimitSettings`]; nor any of these.
    pub syn_limit: SynLimitSettings,
    /// See [`HttpSettings`]; the command line has none of them.
    pub http: HttpSettings,
}

impl Settings {
    /// These settings; what they do not say, `other` may.
    pub fn or(self, other: Self) -> Self {
        let mut service = self.service;
        for (spec, settings) in other.service {
            // Those of services that the command line has replaced by others say nothing.
            if self.services.is_empty() || self.services.contains(&spec) {
                service.entry(spec).or_insert(settings);
            }
        }
        fn list<T>(ours: Vec<T>, theirs: Vec<T>) -> Vec<T> {
            if ours.is_empty() { theirs } else { ours }
        }
        fn table<T: Default + PartialEq>(ours: T, theirs: T) -> T {
            if ours == T::default() { theirs } else { ours }
        }
        Self {
            interface: self.interface.or(other.interface),
            address: list(self.address, other.address),
            cores: list(self.cores, other.cores),
            mode: self.mode.or(other.mode),
            idle: self.idle.or(other.idle),
            congestion: self.congestion.or(other.congestion),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            max_connections: self.max_connections.or(other.max_connections),
            client_ports: self.client_ports.or(other.client_ports),
            fast_open: self.fast_open.or(other.fast_open),
            user: self.user.or(other.user),
            sandbox: self.sandbox.or(other.sandbox),
            services: list(self.services, other.services),
            service,
            tcp: table(self.tcp, other.tcp),
            deny: table(self.deny, other.deny),
            syn_limit: table(self.syn_limit, other.syn_limit),
            http: table(self.http, other.http),
        }
    }
}

/// Settings of a server, each legal by itself and all together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The interface to serve.
    pub interface: String,
    /// Addresses to serve; empty: all of the interface.
    pub addresses: Vec<IpAddr>,
    /// CPUs to work on; empty: one per queue.
    pub cores: Vec<usize>,
    /// How frames are to cross.
    pub mode: Mode,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// How long connections may take to end after the first signal.
    pub drain_timeout: Duration,
    /// Connections that one worker may have.
    pub max_connections: usize,
    /// Local ports of connections that a program opens.
    pub client_ports: PortRange,
    /// What becomes of the process's privileges once the server is set up. They are threads', so
    /// that [`Server::start`](crate::server::Server::start) must be called before there are
    /// others.
    pub privileges: Privileges,
    /// Whether the server's threads and the one that starts it may make only the system calls that
    /// a server makes (seccomp). Services that make others must do without.
    pub sandbox: bool,
    /// The `corelane` binary, which undoes at the end what needs privileges then, where those are
    /// dropped: receive offload, which generic mode switches off. Without it, that stays off.
    pub undo_by: Option<PathBuf>,
    /// Built-in servers, no port twice.
    pub services: Vec<ServiceSpec>,
    /// Settings of TCP.
    pub tcp: crate::tcp::Config,
    /// Limits of the HTTP servers.
    pub http: Limits,
    /// Options of connections to single services, by port.
    pub service_options: BTreeMap<NonZeroU16, SocketOptions>,
    /// What the XDP program keeps out.
    pub defence: Defence,
}

impl Config {
    /// The defaults for an interface, with no service yet.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            addresses: Vec::new(),
            cores: Vec::new(),
            mode: Mode::default(),
            idle: Idle::default(),
            drain_timeout: DRAIN_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            client_ports: PortRange::CLIENT,
            privileges: Privileges::Keep,
            sandbox: false,
            undo_by: None,
            services: Vec::new(),
            tcp: crate::tcp::Config::default(),
            http: Limits::default(),
            service_options: BTreeMap::new(),
            defence: Defence::default(),
        }
    }
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let interface = settings.interface.ok_or(ConfigError::NoInterface)?;
        if settings.services.is_empty() {
            return Err(ConfigError::NoService);
        }
        for (index, second) in settings.services.iter().enumerate() {
            let before = &settings.services[..index];
            if let Some(first) = before.iter().find(|first| first.port == second.port) {
                return Err(ConfigError::PortTwice {
                    port: second.port,
                    first: *first,
                    second: *second,
                });
            }
        }
        if let Some(address) = twice(&settings.address) {
            return Err(ConfigError::AddressTwice(*address));
        }
        if let Some(core) = twice(&settings.cores) {
            return Err(ConfigError::CoreTwice(*core));
        }
        let defaults = Self::new(&interface);
        let max_connections = settings.max_connections.unwrap_or(MAX_CONNECTIONS);
        if !(1..=MOST_CONNECTIONS).contains(&max_connections) {
            return Err(ConfigError::MaxConnections(max_connections));
        }
        let mut tcp = settings.tcp.config(settings.congestion);
        tcp.fast_open_queue = settings.fast_open.unwrap_or(0);
        let mut service_options = BTreeMap::new();
        for (spec, special) in &settings.service {
            if !settings.services.contains(spec) {
                return Err(ConfigError::ServiceNotServed(*spec));
            }
            let options = settings.tcp.service_options(special, &tcp.options);
            service_options.insert(spec.port, options);
        }
        Ok(Self {
            addresses: settings.address,
            cores: settings.cores,
            mode: settings.mode.unwrap_or_default(),
            idle: settings.idle.unwrap_or_default(),
            drain_timeout: settings.drain_timeout.unwrap_or(DRAIN_TIMEOUT),
            max_connections,
            client_ports: settings.client_ports.unwrap_or(PortRange::CLIENT),
            privileges: match settings.user {
                Some(user) => Privileges::Drop(Some(user)),
                None => Privileges::Keep,
            },
            sandbox: settings.sandbox.unwrap_or(false),
            services: settings.services,
            tcp,
            http: settings.http.limits(),
            service_options,
            defence: Defence::new(settings.deny, &settings.syn_limit)?,
            ..defaults
        })
    }
}

/// The first value that has been there before.
fn twice<T: PartialEq>(values: &[T]) -> Option<&T> {
    let mut indexed = values.iter().enumerate();
    indexed.find_map(|(index, value)| values[..index].contains(value).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(services: &[&str]) -> Settings {
        Settings {
            interface: Some("veth0".to_owned()),
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            ..Settings::default()
        }
    }

    fn refusal(settings: Settings) -> String {
        Config::try_from(settings).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = Config::try_from(settings(&["http:80"])).unwrap();
        assert_eq!(config.interface, "veth0");
        assert!(config.addresses.is_empty() && config.cores.is_empty());
        assert_eq!(
            (config.mode, config.idle, config.drain_timeout),
            (Mode::Auto, Idle::Adaptive, Duration::from_secs(10))
        );
        assert_eq!(config.services[0].to_string(), "http:80");
    }

    #[test]
    fn each_refusal_names_what_is_wrong() {
        assert_eq!(
            refusal(settings(&["http:8080", "echo:7", "echo:8080"])),
            "port 8080 is given twice, by http:8080 and echo:8080: give each service its own port"
        );
        assert!(refusal(settings(&[])).contains("http:80"));
        let nameless = Settings {
            interface: None,
            ..settings(&["http:80"])
        };
        assert!(refusal(nameless).contains("--interface"));
        let cores = Settings {
            cores: vec![0, 1, 0],
            ..settings(&["http:80"])
        };
        assert!(refusal(cores).contains("core 0 is given twice"));
        let address = "fd00::1".parse().unwrap();
        let addresses = Settings {
            address: vec![address, address],
            ..settings(&["http:80"])
        };
        assert!(refusal(addresses).contains("fd00::1 is given twice"));
        for max_connections in [0, MOST_CONNECTIONS + 1] {
            let connections = Settings {
                max_connections: Some(max_connections),
                ..settings(&["http:80"])
            };
            assert!(refusal(connections).contains(&max_connections.to_string()));
        }
    }

    #[test]
    fn words_that_are_no_service_are_quoted() {
        for text in [
            "gopher:70",
            "http:0",
            "http:65536",
            "http:",
            "http",
            ":80",
            "",
            "http:80:80",
            "http:-1",
        ] {
            let message = text.parse::<ServiceSpec>().unwrap_err().to_string();
            assert!(message.contains(&format!("\"{text}\"")), "{message}");
        }
    }

    #[test]
    fn modes_are_spelled_as_on_the_command_line() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse::<Mode>().unwrap(), mode);
        }
        assert_eq!(
            "fast".parse::<Mode>().unwrap_err().to_string(),
            "there is no mode \"fast\"; there are: auto, zero-copy, copy, generic"
        );
    }

    #[test]
    fn the_command_line_wins() {
        let cli = Settings {
            mode: Some(Mode::Copy),
            ..settings(&["http:80"])
        };
        let file = Settings {
            interface: Some("eth9".to_owned()),
            mode: Some(Mode::Generic),
            cores: vec![1],
            ..settings(&["echo:7", "discard:9"])
        };
        let merged = cli.clone().or(file);
        assert_eq!(
            merged,
            Settings {
                cores: vec![1],
                ..cli
            }
        );
    }
}
