//! The built-in servers: run-to-completion [`Service`](crate::stack::Service)s.

mod chargen;
pub(crate) mod cyclic;
mod discard;
mod echo;
pub mod http;
mod output;

use std::fmt;
use std::str::FromStr;

pub use self::chargen::Chargen;
pub use self::discard::Discard;
pub use self::echo::Echo;
pub use self::http::Http;
use self::http::Limits;
use crate::ring::PacketIo;
use crate::stack::Stack;
use crate::tcp::SocketOptions;
use crate::wire::Address;

/// A built-in server by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Http`].
    Http,
    /// [`Echo`].
    Echo,
    /// [`Discard`].
    Discard,
    /// [`Chargen`].
    Chargen,
}

impl Kind {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Http, Self::Echo, Self::Discard, Self::Chargen];

    /// The name that users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Chargen => "chargen",
        }
    }

    /// Has a new instance serve `port` of `addresses` on `stack`.
    pub fn listen<P: PacketIo>(self, stack: &mut Stack<P>, addresses: &[Address], port: u16) {
        let options = stack.default_options().clone();
        self.listen_with(stack, addresses, port, options, Limits::default());
    }

    /// The same, with `options` for its connections to begin with, and `limits` if it is HTTP.
    pub fn listen_with<P: PacketIo>(
        self,
        stack: &mut Stack<P>,
        addresses: &[Address],
        port: u16,
        options: SocketOptions,
        limits: Limits,
    ) {
        match self {
            Self::Http => stack.listen_with(addresses, port, options, Http::new(limits)),
            Self::Echo => stack.listen_with(addresses, port, options, Echo),
            Self::Discard => stack.listen_with(addresses, port, options, Discard),
            Self::Chargen => stack.listen_with(addresses, port, options, Chargen),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, UnknownService> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownService(name.to_owned()))
    }
}

/// No built-in server has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown service `{0}`; there are http, echo, discard and chargen")]
pub struct UnknownService(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_are_one_to_one() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "HTTP".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("`HTTP`"), "{error}");
        for kind in Kind::ALL {
            assert!(error.contains(kind.name()), "{error}");
        }
    }
}
