//! A load generator on our own stack: many connections to one server, what they were answered, and how
//! long that took.
//!
//! | file | what |
//! |---|---|
//! | `cli` | `corelane load` |
//! | `options` | what to do: targets, addresses |
//! | `run` | start, progress, end |
//! | `caller` | the service of one worker: opens its share of the connections, and keeps to the clock |
//! | `talk` | requests and answers on one connection |
//! | `http` | answers of HTTP servers |
//! | `report` | what a worker has counted and measured |
//! | `outcome` | all of it together, as text and as JSON |
//!
//! Workers share nothing: each opens its connections by itself, from ports whose answers reach it, and
//! records into a histogram of its own.
//!
//! Latencies are those of turns of the worker: from the turn that wrote a request to the turn that read
//! the last octet of its answer. With a rate they begin when the request was due, whether or not the
//! server let it be sent then, so that a server that stalls cannot hide it ("coordinated omission").

mod caller;
mod cli;
mod http;
mod options;
mod outcome;
mod report;
mod run;
mod talk;

pub use self::cli::{Arguments, CliError};
pub use self::options::{AddressRange, BadOption, Options, Target, Work};
pub use self::outcome::{Latency, Outcome};
pub use self::report::Errors;
pub use self::run::{Event, LoadError, Progress, run};
