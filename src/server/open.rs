//! The start. The order is that of the text of [`server`](super).

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::thread::CapabilitySet;

use super::control::{self, Control};
use super::cookies::Cookies;
use super::floods::Floods;
use super::opener::{OpenerThread, Terms};
use super::plan::{Share, deal};
use super::privileges;
use super::sandbox::{self, Kind};
use super::secret;
use super::watch::Watch;
use super::{Host, Listener, NO_SECCOMP, Running, ServeError, Worker, client_ports, gro, ports};
use crate::config::{Config, Mode};
use crate::ring::xsk::{BindMode, LARGEST_MTU, Xsk, XskConfig};
use crate::stack::{ClientPorts, Queue, Stack, StackConfig};
use crate::time::{Clock, Duration, Instant};
use crate::wire::{Address, ChecksumPolicy};
use crate::worker::{self, Filter, Mailbox, Setup, Wake, timespec};
use crate::xdp::{
    AttachMode, Device, LoadOptions, Program, XdpError, check_unoccupied, has_perfmon,
    missing_capabilities,
};

/// How long a driver may take to come up again after a program was attached.
const CARRIER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const CARRIER_INTERVAL: Duration = Duration::from_millis(20);
/// How long a server that was killed may take to be gone.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);
/// How often to look whether it is.
const PREDECESSOR_INTERVAL: Duration = Duration::from_millis(10);

pub(super) fn start(
    config: &Config,
    listeners: &[Listener],
    clients: &[Host],
) -> Result<Running, ServeError> {
    let device = Device::open(&config.interface).map_err(ServeError::Device)?;
    let ports = distinct_ports(listeners)?;
    let addresses = addresses(config, &device)?;
    let queues = device.rx_queues();
    let shares = deal(queues, &config.cores, &available_cores())?;
    check_capabilities()?;
    let plan = privileges::plan(&config.privileges)?;
    if plan.is_some() && !clients.is_empty() {
        return Err(ServeError::OpensConnections);
    }
    if !clients.is_empty() {
        client_ports::check(&config.client_ports.ports(), &addresses)?;
    }
    patiently(|| check_unoccupied(&device).map_err(ServeError::Xdp))?;
    let defence = &config.defence;
    let options = LoadOptions {
        queues,
        denied: defence.max_denied,
        syn_sources: defence.max_syn_sources,
    };
    let mut program = Program::load(&device, options).map_err(ServeError::Xdp)?;
    program.deny(&defence.denied).map_err(ServeError::Xdp)?;
    program
        .set_syn_limit(defence.syn_limit)
        .map_err(ServeError::Xdp)?;
    let held = patiently(|| ports::hold(device.ifindex(), &addresses, &ports))?;
    let was_up = device.is_running().map_err(ServeError::Device)?;
    let mut notices = notices(config, &device, &shares);
    let attached = attach(&mut program, config.mode, &mut notices)?;

    let secret = secret_of_this_boot(&mut notices)?;
    // From here on, to drop it is to undo it.
    let mut running = Running {
        program: Arc::new(program),
        control: None,
        opener: None,
        look_around_at: Instant::ZERO,
        addresses: addresses.clone(),
        workers: Vec::new(),
        phase_changed: Arc::new(Wake::new().map_err(ServeError::exhausted("descriptor"))?),
        clock: Clock::start(),
        drain_timeout: config.drain_timeout,
        queues: Vec::new(),
        notices,
        notice_listener: None,
        floods: Floods::default(),
        cookies: Cookies::new(secret),
        watch: Watch::new(device.mtu()),
        _gro: None,
        _ports: held,
        device,
    };
    if attached == AttachMode::Generic {
        prepare_generic(&mut running, plan.is_some().then_some(&config.undo_by))?;
    }
    match was_up {
        true => wait_for_carrier(&running)?,
        false => running.notices.push(format!(
            "{0} is down or has no carrier, and nothing is served until it has: `ip link set {0} \
             up`",
            config.interface
        )),
    }
    let sockets = open_queues(&mut running, config.mode, attached, &shares)?;
    // What needed privileges is done.
    let directory = control::directory(plan.as_ref());
    if let Some(plan) = plan {
        privileges::give_up(plan.account.as_ref(), CapabilitySet::empty())
            .map_err(ServeError::GiveUp)?;
        running.notices.extend(plan.notice);
    }
    let sandboxed = sandbox::prepare(&mut running, config.sandbox)?;
    let control = control::bind(directory, &mut running.notices);
    let local = addresses;
    let addresses: Vec<Address> = local.iter().copied().map(Address::from).collect();
    let answered = start_workers(
        &mut running,
        config,
        &Hosted {
            listeners,
            clients,
            addresses: &addresses,
        },
        &shares,
        sockets,
        secret,
        sandbox::filter(sandboxed, Kind::Worker)?,
    )?;
    if let Some(listener) = control {
        let workers = running.workers.iter();
        let mailboxes = workers.map(|worker| (worker.core, Arc::clone(&worker.mailbox)));
        running.control = Some(Control::start(
            listener,
            mailboxes.collect(),
            answered,
            Arc::clone(&running.program),
            config.defence.syn_limit,
            running.clock,
            sandbox::filter(sandboxed, Kind::Control)?,
        )?);
    }
    let client_ports = (!clients.is_empty()).then(|| config.client_ports.ports());
    add_services(&running.program, &addresses, &ports, client_ports).map_err(ServeError::Xdp)?;
    if !clients.is_empty() {
        let terms = Terms {
            ifindex: running.device.ifindex(),
            mac: running.device.mac(),
            addresses: local,
            workers: running
                .workers
                .iter()
                .map(|worker| Arc::clone(&worker.mailbox))
                .collect(),
            clock: running.clock,
            filter: sandbox::filter(sandboxed, Kind::Opener)?,
        };
        let opener = OpenerThread::start(terms).map_err(ServeError::exhausted("thread"))?;
        running.opener = Some(opener);
    }
    if let Some(filter) = sandbox::filter(sandboxed, Kind::Main)? {
        let applied = filter.apply();
        applied.map_err(|_| ServeError::Sandbox(NO_SECCOMP.to_owned()))?;
    }
    Ok(running)
}

fn distinct_ports(listeners: &[Listener]) -> Result<Vec<u16>, ServeError> {
    let mut ports: Vec<u16> = Vec::with_capacity(listeners.len());
    for &Listener { port, .. } in listeners {
        if ports.contains(&port) {
            return Err(ServeError::PortTwice { port });
        }
        ports.push(port);
    }
    Ok(ports)
}

/// The addresses to serve: those asked for, if the interface has them, or all that it has.
fn addresses(config: &Config, device: &Device) -> Result<Vec<IpAddr>, ServeError> {
    let has = device.addresses();
    let interface = device.name().to_owned();
    if has.is_empty() {
        return Err(ServeError::NoAddress(interface));
    }
    let foreign = config
        .addresses
        .iter()
        .find(|address| !has.contains(address));
    if let Some(address) = foreign {
        let has: Vec<_> = has.iter().map(ToString::to_string).collect();
        return Err(ServeError::ForeignAddress {
            address: *address,
            interface,
            has: has.join(", "),
        });
    }
    let mut chosen = match config.addresses.is_empty() {
        true => has.to_vec(),
        false => config.addresses.clone(),
    };
    // An address can be there twice, with two prefix lengths.
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// The CPUs that this thread may run on.
fn available_cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().map(|core| core.id).collect()
}

fn check_capabilities() -> Result<(), ServeError> {
    let missing = missing_capabilities();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(ServeError::MissingCapability(missing.join(", "))),
    }
}

/// Tries again for a while if what is in the way can be a server of ours that was killed a moment
/// ago: the kernel takes its program, sockets and ports away after its end.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, ServeError>) -> Result<T, ServeError> {
    let clock = Clock::start();
    let deadline = clock.now() + PREDECESSOR_TIMEOUT;
    loop {
        match attempt() {
            Err(ServeError::Xdp(XdpError::Occupied { .. }) | ServeError::PortInUse { .. })
                if clock.now() < deadline =>
            {
                let _ = rustix::thread::nanosleep(&timespec(PREDECESSOR_INTERVAL));
            }
            outcome => return outcome,
        }
    }
}

/// What can be said before anything is tried.
fn notices(config: &Config, device: &Device, shares: &[Share]) -> Vec<String> {
    let mut notices = Vec::new();
    let idle = config.cores.len().saturating_sub(shares.len());
    if idle > 0 {
        notices.push(format!(
            "{idle} of {} cores without work: {} has no more than {} receive queue(s), `ethtool -L` \
             may give it more",
            config.cores.len(),
            device.name(),
            device.rx_queues(),
        ));
    }
    if device.mtu() > LARGEST_MTU {
        notices.push(format!(
            "the MTU of {} is {}, of which connections here use {LARGEST_MTU}: the MSS that we \
             announce says so to peers",
            device.name(),
            device.mtu(),
        ));
    }
    if !has_perfmon() {
        notices.push(
            "without CAP_PERFMON the kernel guards the XDP program against Spectre, which takes about \
             150 ns more for each frame"
                .to_owned(),
        );
    }
    // A veth says so too, but takes tags off only what the kernel itself tagged.
    if matches!(device.strips_vlan(), Ok(true)) && device.driver() != "veth" {
        notices.push(format!(
            "{0} takes VLAN tags off before we see them, so tagged traffic looks untagged: \
             `ethtool -K {0} rxvlan off` if there are VLANs",
            device.name()
        ));
    }
    notices
}

/// Attaches the program, natively unless asked otherwise or impossible.
fn attach(
    program: &mut Program,
    mode: Mode,
    notices: &mut Vec<String>,
) -> Result<AttachMode, ServeError> {
    let first = match mode {
        Mode::Generic => AttachMode::Generic,
        Mode::Auto | Mode::ZeroCopy | Mode::Copy => AttachMode::Native,
    };
    let attached = match program.attach(first) {
        Err(
            refused @ (XdpError::NoNativeXdp { .. }
            | XdpError::PeerMtuTooLarge { .. }
            | XdpError::TooFewRxQueues { .. }
            | XdpError::WrongMode { .. }
            | XdpError::Attach { .. }),
        ) if mode == Mode::Auto => {
            notices.push(format!(
                "falling back to generic mode, which is slower: {refused}"
            ));
            program.attach(AttachMode::Generic)
        }
        attached => attached,
    };
    attached.map_err(ServeError::Xdp)
}

/// In generic mode the program sees frames behind receive offload, merged to 64 KiB.
///
/// `undo_by` is the helper of a server that gives its privileges up.
fn prepare_generic(
    running: &mut Running,
    undo_by: Option<&Option<PathBuf>>,
) -> Result<(), ServeError> {
    let device = &running.device;
    running._gro = match undo_by {
        Some(Some(binary)) => gro::have_switched_off(binary, device).map_err(ServeError::Gro)?,
        None | Some(None) => gro::switch_off(device).map_err(ServeError::Device)?,
    };
    if running._gro.is_some() {
        let interface = device.name();
        let until = match undo_by {
            Some(None) => "and stays so: `ethtool -K` switches it on again",
            Some(Some(_)) | None => "until we end",
        };
        running.notices.push(format!(
            "generic mode: receive offload (GRO) of {interface} is off {until}"
        ));
    }
    if running.device.driver() == "veth" {
        running.notices.push(
            "generic mode: frames larger than the MTU are dropped; have the peer cut them itself \
             with `ethtool -K PEER tso off gso off`"
                .to_owned(),
        );
    }
    Ok(())
}

/// Some drivers reset the device when a program is attached.
fn wait_for_carrier(running: &Running) -> Result<(), ServeError> {
    let deadline = running.clock.now() + CARRIER_TIMEOUT;
    while !running.device.is_running().map_err(ServeError::Device)? {
        if running.clock.now() >= deadline {
            return Err(ServeError::NoCarrier {
                interface: running.device.name().to_owned(),
                seconds: CARRIER_TIMEOUT.as_millis() / 1_000,
            });
        }
        let _ = rustix::thread::nanosleep(&timespec(CARRIER_INTERVAL));
    }
    Ok(())
}

/// Binds every queue's socket, its FILL full, and puts it into the XSKMAP. In the order of
/// `shares`.
fn open_queues(
    running: &mut Running,
    mode: Mode,
    attached: AttachMode,
    shares: &[Share],
) -> Result<Vec<Vec<Queue<Xsk>>>, ServeError> {
    let device = &running.device;
    let mtu = device.mtu().min(LARGEST_MTU);
    let generic = attached == AttachMode::Generic;
    let bind = match mode {
        Mode::Auto | Mode::Generic => BindMode::Auto,
        Mode::ZeroCopy => BindMode::ZeroCopy,
        Mode::Copy => BindMode::Copy,
    };
    let (checksums, accepted) = match running.program.meets_partial_checksums() {
        true => (
            ChecksumPolicy::FullOrPartial,
            " (and what the peer's kernel put off)",
        ),
        false => (ChecksumPolicy::Full, ""),
    };
    let mut lines = Vec::new();
    let mut largest_mtu = mtu;
    let mut opened = Vec::with_capacity(shares.len());
    for share in shares {
        let mut queues = Vec::with_capacity(share.queues.len());
        for &id in &share.queues {
            let xsk_config = XskConfig {
                bind,
                generic,
                ..XskConfig::new(device.name(), id, mtu)
            }
            .with_room();
            largest_mtu = xsk_config.largest_mtu();
            let io = Xsk::open(&xsk_config).map_err(ServeError::Open)?;
            let program = &running.program;
            program
                .set_socket(id, io.as_fd())
                .map_err(ServeError::Xdp)?;
            let line = format!(
                "{}; driver {}, {attached} XDP, checksums in software{accepted}, core {}",
                io.description(),
                device.driver(),
                share.core,
            );
            lines.push((id, line));
            queues.push(Queue {
                io,
                id,
                mac: device.mac(),
                mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
                checksums,
            });
        }
        opened.push(queues);
    }
    running.watch.set_largest_mtu(largest_mtu);
    lines.sort_unstable_by_key(|(id, _)| *id);
    running.queues = lines.into_iter().map(|(_, line)| line).collect();
    Ok(opened)
}

/// What every worker hosts.
struct Hosted<'a> {
    listeners: &'a [Listener],
    clients: &'a [Host],
    addresses: &'a [Address],
}

/// Starts the workers and waits until they turn. What rings when one has answered.
fn start_workers(
    running: &mut Running,
    config: &Config,
    hosted: &Hosted<'_>,
    shares: &[Share],
    sockets: Vec<Vec<Queue<Xsk>>>,
    secret: [u8; secret::OCTETS],
    filter: Option<Filter>,
) -> Result<Arc<Wake>, ServeError> {
    let answered = Arc::new(Wake::new().map_err(ServeError::exhausted("descriptor"))?);
    let mut mailboxes = Vec::with_capacity(shares.len());
    for _ in shares {
        let mailbox = Mailbox::new(Arc::clone(&running.phase_changed), Arc::clone(&answered));
        mailboxes.push(Arc::new(
            mailbox.map_err(ServeError::exhausted("descriptor"))?,
        ));
    }
    let port_secret = [u64::from_ne_bytes(random()?), u64::from_ne_bytes(random()?)];
    let steering = client_ports::steering(&running.device, shares);
    for (index, (share, queues)) in shares.iter().zip(sockets).enumerate() {
        let mailbox = Arc::clone(&mailboxes[index]);
        let setup = Setup {
            core: share.core,
            idle: config.idle,
            clock: running.clock,
            mailbox: Arc::clone(&mailbox),
            next: (shares.len() > 1).then(|| Arc::clone(&mailboxes[(index + 1) % shares.len()])),
            filter: filter.clone(),
        };
        let stack = StackConfig {
            tcp: config.tcp.clone(),
            max_connections: config.max_connections,
            secret,
            hash_key: [u64::from_ne_bytes(random()?), u64::from_ne_bytes(random()?)],
            other_workers: shares.len() - 1,
        };
        let (listeners, addresses) = (hosted.listeners.to_vec(), hosted.addresses.to_vec());
        let (clients, range) = (hosted.clients.to_vec(), config.client_ports.ports());
        let client_ports = ClientPorts::new(range, steering[index].clone(), port_secret);
        let thread = worker::spawn(setup, move |now| {
            let mut stack = Stack::new(stack, queues, now);
            for host in &clients {
                host(&mut stack);
            }
            if !clients.is_empty() {
                stack.set_client_ports(client_ports);
            }
            for listener in &listeners {
                (listener.open)(&mut stack, &addresses);
            }
            stack
        });
        running.workers.push(Worker {
            core: share.core,
            mailbox,
            thread: Some(thread.map_err(ServeError::exhausted("thread"))?),
        });
    }
    running.wait_for_workers()?;
    Ok(answered)
}

/// From the first service on, frames come to us.
fn add_services(
    program: &Program,
    addresses: &[Address],
    ports: &[u16],
    client_ports: Option<RangeInclusive<u16>>,
) -> Result<(), XdpError> {
    #[expect(clippy::reversed_empty_ranges, reason = "no port at all")]
    let client_ports = client_ports.unwrap_or(1..=0);
    for &address in addresses {
        program.add_address(address, client_ports.clone())?;
        for &port in ports {
            program.add_service(address, port)?;
        }
    }
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], ServeError> {
    secret::random().map_err(ServeError::exhausted("random numbers"))
}

/// What initial sequence numbers and timestamps come from. If it cannot be kept, there is a notice:
/// no reason to serve nothing.
fn secret_of_this_boot(notices: &mut Vec<String>) -> Result<[u8; secret::OCTETS], ServeError> {
    let kept = control::directory(None).and_then(|directory| secret::of_this_boot(&directory));
    kept.or_else(|error| {
        notices.push(format!(
            "sequence numbers do not go on where the last server's ended, so for a minute peers may \
             be slow to connect: {error}"
        ));
        random()
    })
}
