//! Why settings are refused: the cause and the mend, in one sentence.

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use super::ServiceSpec;
use crate::xdp::{BadSynLimit, Prefix};

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("no interface is given: say which with --interface or `interface = \"...\"`")]
    NoInterface,
    #[error("there is nothing to serve: name at least one service, for example http:80")]
    NoService,
    #[error(
        "\"{0}\" is no service: it takes a name (http, echo, discard, chargen), a colon and a \
         port from 1 to 65535, for example http:80"
    )]
    Service(String),
    #[error("port {port} is given twice, by {first} and {second}: give each service its own port")]
    PortTwice {
        port: NonZeroU16,
        first: ServiceSpec,
        second: ServiceSpec,
    },
    #[error("the address {0} is given twice: give it once")]
    AddressTwice(IpAddr),
    #[error("core {0} is given twice: give each core once")]
    CoreTwice(usize),
    #[error("max-connections {0} is outside 1 to {most}", most = super::MOST_CONNECTIONS)]
    MaxConnections(usize),
    #[error("there are settings for {0}, which is not served: add it to `services`")]
    ServiceNotServed(ServiceSpec),
    #[error(
        "\"{0}\" is no range of ports: it takes the first and the last, from 1 to 65535, for \
         example 61000-65535"
    )]
    PortRange(String),
    #[error("the denied prefix {0} is given twice: give it once")]
    PrefixTwice(Prefix),
    #[error("[syn-limit] says how, but not how many: give it a `rate`, in SYNs per second")]
    SynLimitWithoutRate,
    #[error("[syn-limit]: {0}")]
    SynLimit(#[from] BadSynLimit),
    #[error(
        "\"{0}\" is no user: it takes a name or a number, and perhaps a colon and a group, for \
         example nobody or 1000:1000"
    )]
    User(String),
    #[error("cannot read the configuration file {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the configuration file {path} is larger than 64 MiB: is it the right one?", path = .0.display()
    )]
    TooLarge(PathBuf),
    #[error("{path}, line {line}, `{text}`: {message}", path = path.display())]
    Nonsense {
        path: PathBuf,
        line: usize,
        text: String,
        message: String,
    },
}

/// There is no mode of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no mode \"{0}\"; there are: auto, zero-copy, copy, generic")]
pub struct UnknownMode(pub(super) String);
