//! The command line.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use corelane::config::{Config, ConfigError, Mode, Privileges, ServiceSpec, Settings, User};
use corelane::load::{self, CliError};
use corelane::observe::control::{self, AskError, DIRECTORY, Target};
use corelane::observe::protocol::{Change, Reply, Request, Show};
use corelane::observe::{Detail, connections_table, denied_table, stats_table, syn_limit_line};
use corelane::server::{Ending, ServeError, Server, Signals, Supervisor, keep_gro_off};
use corelane::tcp::congestion::Algorithm;
use corelane::time::{Clock, Duration};
use corelane::worker::Idle;
use corelane::xdp::{BadSynLimit, Prefix, SynLimit, SynTerms};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A TCP server stack that runs beside the Linux kernel, on AF_XDP.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve on a network interface until SIGINT or SIGTERM.
    Serve(Serve),
    /// Load a server with connections and requests, and say how fast it is.
    Load(Box<load::Arguments>),
    /// List the connections of a running server.
    Ss(Ss),
    /// Show the counters of a running server: frames, segments, drops by reason.
    Stats(Ask),
    /// Change or show the sources that a running server does not serve.
    #[command(subcommand)]
    Deny(Deny),
    /// Change or show how many SYNs a running server takes from each source.
    #[command(subcommand)]
    SynLimit(SynLimitCommand),
    /// What `serve` starts to have receive offload on again in the end
    #[command(hide = true)]
    KeepGroOff {
        /// The interface
        interface: String,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
What a denied source sends to our ports is dropped by the XDP program, before it costs anything else;
its connections are reset. What it sends to the kernel is not touched. A change lasts until the server
ends: what is to be denied from the start stands in its configuration file, as `prefixes` of [deny].

Examples:
  corelane deny add 198.18.7.0/24 fd00:7::/32 198.18.0.9
  corelane deny remove 198.18.0.9
  corelane deny list")]
enum Deny {
    /// Do not serve these sources any more. All of them are added, or none
    Add(ChangeDenied),
    /// Serve these sources again. All of them are removed, or none
    Remove(ChangeDenied),
    /// List the sources that are not served, each with the frames that it has had dropped
    List(Ask),
}

#[derive(Debug, Args)]
struct ChangeDenied {
    /// An address, or its first bits and their number, as in 198.18.0.0/15
    #[arg(value_name = "PREFIX", required = true)]
    prefixes: Vec<Prefix>,
    #[command(flatten)]
    server: Whom,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
A source is all addresses with the same first bits. Without a limit, which is the default, nobody is
counted: behind one address there may be a thousand honest clients, or a load balancer with all of
them. A change lasts until the server ends; [syn-limit] in its configuration file says how it starts.

Examples:
  corelane syn-limit set --rate 100 --burst 200
  corelane syn-limit show
  corelane syn-limit off")]
enum SynLimitCommand {
    /// Drop the SYNs of a source that sends more than this
    Set(SetSynLimit),
    /// Take all SYNs
    Off(Whom),
    /// Show the limit and what it has dropped
    Show(Ask),
}

#[derive(Debug, Args)]
struct SetSynLimit {
    /// SYNs per second and source, from 1 to 1000000
    #[arg(long, value_name = "N")]
    rate: u32,
    /// SYNs at once, from 1 to 1000000 [default: as many as in a second]
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// The first bits of an IPv4 address that name its source; 0: all together
    #[arg(long, value_name = "BITS", default_value_t = SynLimit::IPV4_PREFIX)]
    ipv4_prefix: u8,
    /// The first bits of an IPv6 address that name its source; 0: all together
    #[arg(long, value_name = "BITS", default_value_t = SynLimit::IPV6_PREFIX)]
    ipv6_prefix: u8,
    #[command(flatten)]
    server: Whom,
}

impl SetSynLimit {
    fn limit(&self) -> Result<SynLimit, BadSynLimit> {
        SynLimit::try_from(SynTerms {
            rate: self.rate,
            burst: self.burst.unwrap_or(self.rate),
            ipv4_prefix: self.ipv4_prefix,
            ipv6_prefix: self.ipv6_prefix,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Traffic to the ports served goes past the kernel; all other traffic of the interface stays with it.
Prints a line for each queue that says what was got, then `ready`, and says that to systemd too
(Type=notify). The first SIGINT or SIGTERM refuses new connections and waits for the others to end,
the second ends at once.

Exit status: 0, it was asked to end; 1, it does not start, or something in the way is named; 2, the
command line is wrong; 3, the interface has gone or changed, so start again; 4, a mistake of ours.

Examples:
  corelane serve --interface eth0 http:80
  corelane serve --interface eth0 --address 198.18.0.1 --cores 2,3 --idle spin http:80 echo:7
  corelane serve --config /etc/corelane.toml

The keys of FILE are the options' names, and `services`:
  interface = \"eth0\"
  address = [\"198.18.0.1\", \"fd00::1\"]
  cores = [0, 1]
  drain-timeout = \"10s\"
  services = [\"http:80\", \"echo:7\"]")]
struct Serve {
    /// What to serve, as NAME:PORT; the names are http, echo, discard and chargen
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceSpec>,
    /// The interface to serve
    #[arg(long)]
    interface: Option<String>,
    /// An address of the interface to serve; can be given again [default: all that the interface
    /// has, IPv6 link-local ones too]
    #[arg(long)]
    address: Vec<IpAddr>,
    /// CPUs to work on, a worker each; queues are dealt round [default: as many as there are
    /// queues]
    #[arg(long, value_delimiter = ',', value_name = "CPU,...")]
    cores: Vec<usize>,
    /// How frames cross between the device and us; auto takes the best that can be got, and says
    /// what [default: auto]
    #[arg(long, value_parser = PossibleValuesParser::new(Mode::ALL.map(Mode::name)).try_map(|word| word.parse::<Mode>()))]
    mode: Option<Mode>,
    /// What a worker does without work: look on for 50 us and then sleep, look on for ever, sleep
    /// at once [default: adaptive]
    #[arg(long, value_parser = PossibleValuesParser::new(Idle::ALL.map(Idle::name)).try_map(|word| word.parse::<Idle>()))]
    idle: Option<Idle>,
    /// Congestion control of new connections [default: cubic]
    #[arg(long, value_parser = PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name)).try_map(|word| word.parse::<Algorithm>()))]
    congestion: Option<Algorithm>,
    /// How long connections may take to end after the first signal, before they are reset
    /// [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    drain_timeout: Option<Duration>,
    /// Connections that each worker may have [default: 262144]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Take text on SYNs (RFC 7413) of so many connections per service and worker at once; a SYN
    /// that the network doubles brings it twice [default: 0, off]
    #[arg(long, value_name = "N")]
    fast_open: Option<usize>,
    /// Who root becomes once everything is set up, by name or number [default: nobody]
    #[arg(long, value_name = "NAME|UID[:GROUP]")]
    user: Option<User>,
    /// Let threads make any system call, not only those that they need (seccomp)
    #[arg(long)]
    no_sandbox: bool,
    /// A TOML file with the same settings; the command line wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Ss {
    /// Say all that is known of each connection, as `ss -i` does
    #[arg(long, short)]
    info: bool,
    /// Say the options of each connection
    #[arg(long, short)]
    options: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct Whom {
    /// The server with this pid, where several run
    #[arg(long, conflicts_with = "control")]
    pid: Option<u32>,
    /// The server with this control socket [default: the only one in /run/corelane]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Whom {
    fn ask(&self, request: &Request) -> Result<Reply, AskError> {
        let target = match (self.pid, &self.control) {
            (Some(pid), _) => Target::Pid(pid),
            (None, Some(path)) => Target::Path(path),
            (None, None) => Target::Only,
        };
        control::ask(Path::new(DIRECTORY), target, request)
    }
}

#[derive(Debug, Args)]
struct Ask {
    #[command(flatten)]
    server: Whom,
    /// Print JSON: times in microseconds, the rest in octets
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text).map(Duration::from)
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(arguments) => serve(arguments),
        Command::Load(arguments) => match arguments.run() {
            Ok(true) => Ok(()),
            // What went wrong is in the result.
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error.into()),
        },
        Command::Ss(arguments) => {
            let detail = Detail {
                info: arguments.info,
                options: arguments.options,
            };
            show(&arguments.ask, Show::Connections, detail)
        }
        Command::Stats(arguments) => show(&arguments, Show::Stats, Detail::default()),
        Command::Deny(command) => deny(command),
        Command::SynLimit(command) => syn_limit(command),
        Command::KeepGroOff { interface } => keep_gro_off(&interface).map_err(Error::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough: `corelane ss | head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            match error {
                Error::Serve(error) => ExitCode::from(error.exit_status()),
                Error::Load(error) => ExitCode::from(error.exit_status()),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// A line on standard error, or none: a log that is closed, full or not read must not end or stop a
/// server.
fn say(what: &dyn Display) {
    if takes_text() {
        let _ = writeln!(io::stderr(), "corelane: {what}");
    }
}

/// Whether a write to standard error does not wait.
fn takes_text() -> bool {
    let stderr = io::stderr();
    let mut files = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let _ = poll(&mut files, Some(&at_once));
    files[0].revents().contains(PollFlags::OUT)
}

/// Panics are printed where they happen, in the worker's time, and peers may be able to cause one again
/// and again: one in a second is enough.
fn say_few_panics() {
    let clock = Clock::start();
    let next = AtomicU64::new(0);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let now = clock.now().as_millis();
        let due = next.load(Ordering::Relaxed);
        let (same, later) = (Ordering::Relaxed, now + 1_000);
        let is_due = now >= due && next.compare_exchange(due, later, same, same).is_ok();
        if is_due && takes_text() {
            print(panic);
        }
    }));
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Load(#[from] CliError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    SynLimit(#[from] BadSynLimit),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("cannot print JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn serve(arguments: Serve) -> Result<(), Error> {
    let file = match &arguments.config {
        Some(path) => Settings::read(path)?,
        None => Settings::default(),
    };
    let config = config(settings(arguments).or(file))?;
    say_few_panics();
    let mut signals = Signals::install()?;
    let supervisor = Supervisor::from_env();
    let mut running = Server::new(config).start()?;
    running.on_notice(|notice| say(&notice));
    for notice in running.notices() {
        say(notice);
    }
    {
        // Nobody may be there to read it, or the disk be full: that is no reason not to serve.
        let mut out = io::stdout().lock();
        for queue in running.queues() {
            let _ = writeln!(out, "{queue}");
        }
        let _ = writeln!(out, "ready");
        let _ = out.flush();
    }
    if let Err(error) = supervisor.and_then(|supervisor| supervisor.ready()) {
        say(&format_args!(
            "cannot tell the service manager that it is ready: {error}"
        ));
    }
    match running.serve(&mut signals)? {
        Ending::Drained => {}
        Ending::Reset(count) => {
            say(&format_args!(
                "connections that did not end in time and were reset: {count}"
            ));
        }
        Ending::Forced => say(&"ended at once, by a second signal"),
    }
    Ok(())
}

/// What the settings say. A server that is nothing else keeps no privileges, and is confined.
fn config(mut settings: Settings) -> Result<Config, ConfigError> {
    settings.sandbox.get_or_insert(true);
    let mut config = Config::try_from(settings)?;
    if config.privileges == Privileges::Keep {
        config.privileges = Privileges::Drop(None);
    }
    config.undo_by = Some(PathBuf::from("/proc/self/exe"));
    Ok(config)
}

fn settings(arguments: Serve) -> Settings {
    Settings {
        interface: arguments.interface,
        address: arguments.address,
        cores: arguments.cores,
        mode: arguments.mode,
        idle: arguments.idle,
        congestion: arguments.congestion,
        drain_timeout: arguments.drain_timeout,
        max_connections: arguments.max_connections,
        // `serve` opens nothing.
        client_ports: None,
        fast_open: arguments.fast_open,
        user: arguments.user,
        sandbox: arguments.no_sandbox.then_some(false),
        services: arguments.services,
        ..Settings::default()
    }
}

fn deny(command: Deny) -> Result<(), Error> {
    let (arguments, change): (_, fn(_) -> Change) = match command {
        Deny::Add(arguments) => (arguments, Change::Add),
        Deny::Remove(arguments) => (arguments, Change::Remove),
        Deny::List(arguments) => return show(&arguments, Show::Denied, Detail::default()),
    };
    let prefixes = arguments.prefixes.into_iter().collect();
    arguments.server.ask(&Request::Deny(change(prefixes)))?;
    Ok(())
}

fn syn_limit(command: SynLimitCommand) -> Result<(), Error> {
    let (server, limit) = match command {
        SynLimitCommand::Set(arguments) => {
            let limit = arguments.limit()?;
            (arguments.server, Some(limit))
        }
        SynLimitCommand::Off(server) => (server, None),
        SynLimitCommand::Show(arguments) => {
            return show(&arguments, Show::SynLimit, Detail::default());
        }
    };
    server.ask(&Request::SynLimit(limit))?;
    Ok(())
}

fn show(arguments: &Ask, what: Show, detail: Detail) -> Result<(), Error> {
    let reply = arguments.server.ask(&Request::Show(what))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match (arguments.json, reply) {
        (true, Reply::Connections(all)) => serde_json::to_writer_pretty(&mut out, &all)?,
        (true, Reply::Stats(stats)) => serde_json::to_writer_pretty(&mut out, &stats)?,
        (true, Reply::Denied(denied)) => serde_json::to_writer_pretty(&mut out, &denied)?,
        (true, Reply::SynLimit(state)) => serde_json::to_writer_pretty(&mut out, &state)?,
        (false, Reply::Connections(all)) => {
            out.write_all(connections_table(&all, detail).as_bytes())?;
        }
        (false, Reply::Stats(stats)) => out.write_all(stats_table(&stats).as_bytes())?,
        (false, Reply::Denied(denied)) => out.write_all(denied_table(&denied).as_bytes())?,
        (false, Reply::SynLimit(state)) => out.write_all(syn_limit_line(&state).as_bytes())?,
        // To nothing that is shown.
        (_, Reply::Done) => {}
        // `ask` has made an error of it.
        (_, Reply::Error(error)) => return Err(AskError::Refused(error).into()),
    }
    if arguments.json {
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn config(line: &str) -> Config {
        match parse(line).unwrap().command {
            Command::Serve(arguments) => Config::try_from(settings(arguments)).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_word_of_serve_is_understood() {
        let config = config(
            "corelane serve --interface veth0 --address 198.18.0.1 --address fd00::1 --cores 0,1 \
             --mode zero-copy --idle spin --congestion reno --drain-timeout 1m \
             http:80 echo:7 discard:9 chargen:19",
        );
        assert_eq!(config.interface, "veth0");
        assert_eq!(config.addresses.len(), 2);
        assert_eq!(config.cores, [0, 1]);
        assert_eq!((config.mode, config.idle), (Mode::ZeroCopy, Idle::Spin));
        assert_eq!(config.drain_timeout, Duration::from_secs(60));
        let services: Vec<_> = config.services.iter().map(ToString::to_string).collect();
        assert_eq!(services, ["http:80", "echo:7", "discard:9", "chargen:19"]);
    }

    #[test]
    fn nonsense_is_quoted() {
        for (line, word) in [
            ("corelane serve --interface v http:65536", "http:65536"),
            ("corelane serve --interface v gopher:70", "gopher:70"),
            ("corelane serve --interface v --mode fast http:80", "fast"),
            ("corelane serve --interface v --idle lazy http:80", "lazy"),
            (
                "corelane serve --interface v --congestion vegas http:80",
                "vegas",
            ),
            (
                "corelane serve --interface v --drain-timeout soon http:80",
                "soon",
            ),
            (
                "corelane serve --interface v --address 300.1.1.1 http:80",
                "300.1.1.1",
            ),
            ("corelane serve --interface v --cores 0,x http:80", "x"),
            ("corelane ss --pid x", "x"),
            ("corelane deny add 198.18.0.0/33", "198.18.0.0/33"),
            ("corelane deny add 198.18.0.5/24", "198.18.0.0/24"),
            ("corelane deny add", "PREFIX"),
            ("corelane deny remove --json fd00::/8", "--json"),
            ("corelane syn-limit set", "--rate"),
            ("corelane syn-limit set --rate many", "many"),
            ("corelane ss --pid 1 --control /x", "--control"),
            ("corelane gopher", "gopher"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }
}
