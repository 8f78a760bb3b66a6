//! The `[http]` table of a configuration file.

use serde::Deserialize;

use super::value::{duration, octets};
use crate::services::http::Limits;
use crate::time::Duration;

/// Milliseconds.
const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 3_600 * SECOND;
/// Octets.
const TIB: u64 = 1 << 40;

/// What the `[http]` table says; see [`Limits`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HttpSettings {
    /// From the first octet of a head until it is complete.
    #[serde(deserialize_with = "duration::<_, SECOND, DAY>")]
    pub header_timeout: Option<Duration>,
    /// Between requests.
    #[serde(deserialize_with = "duration::<_, SECOND, DAY>")]
    pub idle_timeout: Option<Duration>,
    /// From a head until its content is complete, or has come at `body_rate`.
    #[serde(deserialize_with = "duration::<_, SECOND, DAY>")]
    pub body_timeout: Option<Duration>,
    /// Octets per second of content.
    #[serde(deserialize_with = "octets::<_, 1, TIB>")]
    pub body_rate: Option<u64>,
    /// How long a peer may take nothing of a response.
    #[serde(deserialize_with = "duration::<_, SECOND, DAY>")]
    pub send_timeout: Option<Duration>,
    /// Octets of the largest content.
    #[serde(deserialize_with = "octets::<_, 0, TIB>")]
    pub max_body: Option<u64>,
    /// Octets of incomplete heads, per worker.
    #[serde(deserialize_with = "octets::<_, 8192, TIB>")]
    pub head_memory: Option<u64>,
}

impl HttpSettings {
    pub(super) fn limits(&self) -> Limits {
        let defaults = Limits::default();
        Limits {
            header_timeout: self.header_timeout.unwrap_or(defaults.header_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(defaults.idle_timeout),
            body_timeout: self.body_timeout.unwrap_or(defaults.body_timeout),
            body_rate: self.body_rate.unwrap_or(defaults.body_rate),
            send_timeout: self.send_timeout.unwrap_or(defaults.send_timeout),
            max_body: self.max_body.unwrap_or(defaults.max_body),
            head_memory: self.head_memory.unwrap_or(defaults.head_memory),
        }
    }
}
