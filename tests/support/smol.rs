//! smoltcp as a server over memory, for the same clients.
//!
//! In its best reasonable configuration: one interface on Ethernet and IPv4 with nothing else compiled
//! in, all checksums as Corelane has them, no segmentation by the device as Corelane has none, Nagle's
//! algorithm off, no congestion control, a device that copies and allocates nothing, timestamps off (its
//! default; it is spared 12 octets of options per segment). It receives all that is there before it
//! sends, once per turn, and its application is told for nothing which connections have text: smoltcp
//! itself would have it look at all of them.

use corelane::time::Instant;
use corelane::wire::{Address, MacAddr};
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::crowd::{self, PORT};
use super::memory::{CLIENT_MAC, Host, PLENTY, SERVER, SERVER_MAC};

/// The largest frame.
const FRAME: usize = 1_514;
/// Frames on their way in each direction.
const FRAMES: usize = 256;
/// Where the source port is in a frame of IPv4 without options.
const SOURCE_PORT: usize = 14 + 20;

/// What the server does with text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Application {
    /// Sends it back.
    Echo,
    /// Throws it away.
    Discard,
    /// Has none to get, and sends for ever.
    Source,
}

/// See the module.
pub(crate) struct Smol {
    application: Application,
    interface: Interface,
    device: Memory,
    sockets: SocketSet<'static>,
    /// Of each client, in the order in which they connect.
    handles: Vec<SocketHandle>,
    /// Clients of whom a frame has arrived since the last turn.
    heard: Vec<usize>,
}

impl Smol {
    /// A server of so many clients, which connect in the order of their numbers. Each connection has
    /// two buffers of `buffer` octets.
    pub(crate) fn new(clients: usize, buffer: usize, application: Application) -> Self {
        let mut device = Memory::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(SERVER_MAC.0)));
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut device, Time::ZERO);
        interface.update_ip_addrs(|addresses| {
            let &[.., a, b, c, d] = SERVER.octets();
            let address = IpCidr::new(IpAddress::v4(a, b, c, d), 15);
            addresses.push(address).expect("there is room for one");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let handles = (0..clients).map(|_| {
            let room = || tcp::SocketBuffer::new(vec![0; buffer]);
            let mut socket = tcp::Socket::new(room(), room());
            socket.set_nagle_enabled(false);
            socket.listen(PORT).expect("a port that is not 0");
            sockets.add(socket)
        });
        let handles = handles.collect();
        let mut smol = Self {
            application,
            interface,
            device,
            sockets,
            handles,
            heard: Vec::with_capacity(FRAMES),
        };
        for number in (0..clients).step_by(crowd::PORTS as usize) {
            smol.learn(crowd::address(number));
        }
        smol
    }

    /// The client's ARP reply: smoltcp does not learn neighbours from what they send.
    fn learn(&mut self, client: Address) {
        let mut frame = Vec::with_capacity(42);
        let octets = |MacAddr(octets)| octets;
        let last_four = |address: Address| address.octets()[12..].to_vec();
        frame.extend(octets(SERVER_MAC));
        frame.extend(octets(CLIENT_MAC));
        // ARP: Ethernet, IPv4, their lengths, reply (RFC 826).
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
        frame.extend(octets(CLIENT_MAC));
        frame.extend(last_four(client));
        frame.extend(octets(SERVER_MAC));
        frame.extend(last_four(SERVER));
        assert!(self.device.rx.push(&frame));
        self.receive_all(Time::ZERO);
    }

    fn receive_all(&mut self, now: Time) {
        loop {
            let result =
                self.interface
                    .poll_ingress_single(now, &mut self.device, &mut self.sockets);
            if result == PollIngressSingleResult::None {
                return;
            }
        }
    }

    /// The application's part.
    fn serve(&mut self) {
        let mut text = [0; 2_048];
        for client in self.heard.drain(..) {
            let socket = self
                .sockets
                .get_mut::<tcp::Socket<'_>>(self.handles[client]);
            match self.application {
                Application::Echo => {
                    if let Ok(len) = socket.recv_slice(&mut text) {
                        let sent = socket.send_slice(&text[..len]);
                        assert_eq!(sent, Ok(len), "there is room for an answer");
                    }
                }
                // Twice at most: the buffer is a ring.
                Application::Discard => {
                    while socket.can_recv() {
                        let read = socket.recv(|text| (text.len(), ()));
                        assert_eq!(read, Ok(()));
                    }
                }
                Application::Source => {
                    while socket.can_send() {
                        let sent = socket.send(|room| {
                            let len = room.len().min(PLENTY.len());
                            room[..len].copy_from_slice(&PLENTY[..len]);
                            (len, ())
                        });
                        assert_eq!(sent, Ok(()));
                    }
                }
            }
        }
    }
}

impl Host for Smol {
    fn receive(&mut self, frame: &[u8]) -> bool {
        let port = u16::from_be_bytes([frame[SOURCE_PORT], frame[SOURCE_PORT + 1]]);
        let client = usize::from(port - crowd::FIRST_PORT);
        // Bulk has one client, who sends many frames.
        if self.application == Application::Echo || self.heard.is_empty() {
            self.heard.push(client);
        }
        self.device.rx.push(frame)
    }

    fn turn(&mut self, now: Instant) {
        let now = Time::from_micros((now.as_nanos() / 1_000) as i64);
        self.receive_all(now);
        self.serve();
        // Each time it looks at all connections, and each of them sends one segment at most: an answer
        // is one.
        loop {
            let result = self
                .interface
                .poll_egress(now, &mut self.device, &mut self.sockets);
            if result == PollResult::None || self.application == Application::Echo {
                return;
            }
        }
    }

    fn take_sent(&mut self, mut wire: impl FnMut(&[u8])) {
        while let Some(frame) = self.device.tx.pop() {
            wire(frame);
        }
    }
}

/// Frames in order, in memory that is used again from its beginning whenever it is empty.
struct Queue {
    frames: Vec<[u8; FRAME]>,
    lens: Vec<usize>,
    first: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            frames: vec![[0; FRAME]; FRAMES],
            lens: Vec::with_capacity(FRAMES),
            first: 0,
        }
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.lens.len() == FRAMES
    }

    /// Room for the next frame, whose length is `len`.
    fn next(&mut self, len: usize) -> &mut [u8] {
        let frame = &mut self.frames[self.lens.len()][..len];
        self.lens.push(len);
        frame
    }

    fn push(&mut self, frame: &[u8]) -> bool {
        let has_room = !self.is_full();
        if has_room {
            self.next(frame.len()).copy_from_slice(frame);
        }
        has_room
    }

    fn pop(&mut self) -> Option<&[u8]> {
        let Some(&len) = self.lens.get(self.first) else {
            self.lens.clear();
            self.first = 0;
            return None;
        };
        self.first += 1;
        Some(&self.frames[self.first - 1][..len])
    }
}

/// A device that is memory.
#[derive(Default)]
struct Memory {
    rx: Queue,
    tx: Queue,
}

struct Received<'a>(&'a [u8]);

struct Free<'a>(&'a mut Queue);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl TxToken for Free<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        fill(self.0.next(len))
    }
}

impl Device for Memory {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Free<'a>;

    fn receive(&mut self, _: Time) -> Option<(Received<'_>, Free<'_>)> {
        if self.tx.is_full() {
            return None;
        }
        let frame = self.rx.pop()?;
        Some((Received(frame), Free(&mut self.tx)))
    }

    fn transmit(&mut self, _: Time) -> Option<Free<'_>> {
        (!self.tx.is_full()).then_some(Free(&mut self.tx))
    }

    /// All checksums are smoltcp's to compute and to verify: the default.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}
