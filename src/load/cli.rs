//! `corelane load`.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::options::{AddressRange, BadOption, MOST_ADDRESSES, Options, Target, Work};
use super::run::{Event, LoadError, Progress, run};
use crate::config::{Config, Mode, PortRange};
use crate::server::{ServeError, Signals};
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;
use crate::worker::Idle;

/// What `corelane load` is told.
#[derive(Debug, Args)]
#[command(after_help = "\
Opens connections to one server over Corelane's TCP, uses them, checks what comes back, and says how
fast it was. The addresses must be on the interface: the kernel answers ARP and neighbour discovery for
them, and gives its own connections other ports than --ports. A server on the same host must be in
another network namespace. Needs what `corelane serve` needs (root, or CAP_NET_ADMIN, CAP_NET_RAW,
CAP_BPF), and keeps it until the end; its threads may make any system call.

Latency is from a request to the last octet of its answer; with --close, from the SYN; with --rate, from
when the request was due. SIGINT ends it early, and the result is printed.

Exit status: 0, all went well; 1, there were errors, nothing was answered, or it does not start; 2, the
command line is wrong; 3, the interface has gone or changed; 4, a mistake of ours.

Examples:
  corelane load --interface veth1 http://198.18.0.1/
  corelane load --interface veth1 --connections 1 --duration 30s http://[fd00::1]:8080/bytes/1000
  corelane load --interface veth1 --close --rate 20000 --json http://198.18.0.1/
  corelane load --interface veth1 --size 64 echo://198.18.0.1
  corelane load --interface veth1 --connections 4 discard://198.18.0.1:9
  corelane load --interface veth1 --address 198.18.0.2-198.18.0.60 --connections 200000 --idle \\
      echo://198.18.0.1")]
pub struct Arguments {
    /// The server: http://ADDRESS[:PORT]/PATH, echo://..., discard://... or chargen://...; the
    /// address is an IPv4 one or [an IPv6 one]
    #[arg(value_name = "TARGET")]
    target: Target,
    /// The interface to send from
    #[arg(long)]
    interface: String,
    /// Addresses of the interface to open connections from, FIRST-LAST or one; can be given again
    /// [default: the one that the kernel would use]
    #[arg(long, value_name = "RANGE")]
    address: Vec<AddressRange>,
    /// Local ports, of each address
    #[arg(long, value_name = "FIRST-LAST", default_value_t = PortRange::CLIENT)]
    ports: PortRange,
    /// Connections at once
    #[arg(long, short = 'c', value_name = "N", default_value_t = 128)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How long
    #[arg(long, short = 'd', value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Requests on their way on each connection
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "close")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pipeline: u32,
    /// A connection for each request
    #[arg(long)]
    close: bool,
    /// Requests per second, on all connections together [default: the next one when one is answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,
    /// Octets of a message to an echo server [default: 64]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    size: Option<u64>,
    /// Only open the connections, hold them, and reset them
    #[arg(long, conflicts_with_all = ["close", "rate", "pipeline", "size"])]
    idle: bool,
    /// How long an answer may take, or a stream stand still
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Do not compare the octets of /bytes/N, echo and chargen with what they must be
    #[arg(long)]
    no_verify: bool,
    /// CPUs to work on, a worker each; queues are dealt round [default: as many as there are queues]
    #[arg(long, value_delimiter = ',', value_name = "CPU,...")]
    cores: Vec<usize>,
    /// How frames cross between the device and us
    #[arg(long, default_value_t = Mode::Auto, value_parser = PossibleValuesParser::new(Mode::ALL.map(Mode::name)).try_map(|word| word.parse::<Mode>()))]
    mode: Mode,
    /// Never sleep: workers look on for ever when there is nothing to do
    #[arg(long)]
    spin: bool,
    /// Congestion control
    #[arg(long, default_value_t = Algorithm::default(), value_parser = PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name)).try_map(|word| word.parse::<Algorithm>()))]
    congestion: Algorithm,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Say each second on standard error how far it is, also if that is no terminal
    #[arg(long)]
    progress: bool,
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text).map(Duration::from)
}

/// Why `corelane load` has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CliError {
    #[error(transparent)]
    Option(#[from] BadOption),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("cannot print JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// The exit status that says the kind.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Option(_) => 2,
            Self::Load(LoadError::Serve(error)) => error.exit_status(),
            _ => 1,
        }
    }
}

impl Arguments {
    /// Does it, and prints the result. Returns whether all went well.
    ///
    /// # Errors
    ///
    /// See [`CliError`].
    pub fn run(self) -> Result<bool, CliError> {
        let options = self.options()?;
        let mut signals = Signals::install().map_err(LoadError::from)?;
        let shows_progress = self.progress || io::stderr().is_terminal();
        let mut before = Progress::default();
        let mut tell = |event: Event<'_>| match event {
            // A reader of standard error that has gone is no reason to end.
            Event::Queue(line) | Event::Notice(line) => {
                let _ = writeln!(io::stderr(), "corelane: {line}");
            }
            Event::Progress(now) if shows_progress => {
                let line = progress_line(&options, &before, &now);
                let _ = writeln!(io::stderr(), "{line}");
                before = now;
            }
            Event::Progress(_) => {}
        };
        let outcome = run(&options, self.config(), &mut signals, &mut tell)?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &outcome)?;
            writeln!(out)?;
        } else {
            write!(out, "{outcome}")?;
        }
        out.flush()?;
        Ok(outcome.is_success())
    }

    fn options(&self) -> Result<Options, BadOption> {
        let work = self.target.work;
        let mut sources: Vec<_> = self.address.iter().flat_map(|it| it.addresses()).collect();
        sources.sort_unstable();
        sources.dedup();
        if sources.len() > MOST_ADDRESSES {
            return Err(BadOption::TooManyAddresses {
                given: sources.len(),
            });
        }
        let needs_answers = [
            ("--rate", self.rate.is_some()),
            ("--close", self.close),
            ("--pipeline", self.pipeline > 1),
        ];
        if let Some((name, _)) = needs_answers.iter().find(|(_, given)| *given)
            && !work.has_answers()
        {
            return Err(BadOption::NoAnswers(name));
        }
        if self.size.is_some() && work != Work::Echo {
            return Err(BadOption::Size);
        }
        Ok(Options {
            target: self.target.clone(),
            sources,
            connections: self.connections,
            duration: self.duration,
            pipeline: self.pipeline as usize,
            close: self.close,
            rate: self.rate,
            size: self.size.unwrap_or(64),
            idle: self.idle,
            timeout: self.timeout,
            verify: !self.no_verify,
        })
    }

    fn config(&self) -> Config {
        let mut config = Config::new(&self.interface);
        config.cores.clone_from(&self.cores);
        config.mode = self.mode;
        config.client_ports = self.ports;
        config.tcp.options.congestion = self.congestion;
        if self.spin {
            config.idle = Idle::Spin;
        }
        config
    }
}

/// What the last second has come to.
fn progress_line(options: &Options, before: &Progress, now: &Progress) -> String {
    let took = now.elapsed.saturating_sub(before.elapsed);
    let seconds = std::time::Duration::from(took).as_secs_f64().max(1e-3);
    let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let at = std::time::Duration::from(now.elapsed).as_secs();
    let rate = match (options.idle, options.has_answers()) {
        (true, _) => String::new(),
        (false, true) => format!(
            ", {:.0} requests/s",
            per_second(now.requests, before.requests)
        ),
        (false, false) => {
            let octets = per_second(now.received + now.sent, before.received + before.sent);
            format!(", {:.3} Gbit/s", octets * 8.0 / 1e9)
        }
    };
    let (open, errors) = (now.open, now.errors);
    format!("{at} s: {open} connections{rate}, {errors} errors")
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        Self::Load(error.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        load: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let line = format!("load --interface veth1 {line}");
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.load)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let arguments = parse("http://198.18.0.1/").unwrap();
        let options = arguments.options().unwrap();
        assert_eq!(options.target.to_string(), "http://198.18.0.1:80/");
        assert_eq!((options.connections, options.pipeline), (128, 1));
        assert_eq!(options.duration, Duration::from_secs(10));
        assert_eq!(
            (options.close, options.rate, options.idle),
            (false, None, false)
        );
        assert!(options.sources.is_empty() && options.verify);
        let config = arguments.config();
        assert_eq!(config.client_ports, PortRange::CLIENT);
        assert_eq!((config.mode, config.idle), (Mode::Auto, Idle::Adaptive));
    }

    #[test]
    fn every_word_is_understood() {
        let arguments = parse(
            "--address 198.18.0.2-198.18.0.4 --address 198.18.0.4 --ports 50000-50009 -c 7 -d 500ms \
             --rate 10 --close --timeout 1s --no-verify --cores 0,1 --mode copy --spin \
             --congestion reno --json --progress --size 100 echo://198.18.0.1:77",
        )
        .unwrap();
        let options = arguments.options().unwrap();
        assert_eq!(options.sources.len(), 3);
        assert_eq!((options.connections, options.size), (7, 100));
        assert_eq!(options.duration, Duration::from_millis(500));
        assert_eq!((options.close, options.rate), (true, Some(10)));
        assert!(!options.verify);
        let config = arguments.config();
        assert_eq!(config.client_ports.ports(), 50_000..=50_009);
        assert_eq!((config.mode, config.idle), (Mode::Copy, Idle::Spin));
        assert_eq!(config.cores, [0, 1]);
    }

    #[test]
    fn nonsense_is_quoted() {
        for (line, word) in [
            ("", "TARGET"),
            ("https://198.18.0.1/", "https://198.18.0.1/"),
            ("--connections 0 http://198.18.0.1/", "0"),
            ("--pipeline 2 --close http://198.18.0.1/", "--close"),
            ("--idle --rate 5 http://198.18.0.1/", "--rate"),
            (
                "--address 198.18.0.9-198.18.0.2 http://198.18.0.1/",
                "198.18.0.9",
            ),
            ("--rate 0 http://198.18.0.1/", "0"),
            ("--duration soon http://198.18.0.1/", "soon"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
        for (line, word) in [
            ("--rate 5 discard://198.18.0.1", "--rate"),
            ("--close chargen://198.18.0.1", "--close"),
            ("--pipeline 2 chargen://198.18.0.1", "--pipeline"),
            ("--size 5 http://198.18.0.1/", "--size"),
            (
                "--address 198.18.0.0-198.18.0.255 --address 198.18.1.0 http://198.18.2.1/",
                "257",
            ),
        ] {
            let error = parse(line).unwrap().options().unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
