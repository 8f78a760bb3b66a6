//! An application that does what it is told.

use crate::stack::{Service, Socket};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{BufferLimit, Keepalive, Linger, State};
use crate::time::{Duration, Instant};

/// Acts on each callback by the next octets of its script, and reads everything when that has come
/// to its end.
pub(super) struct Application {
    script: std::vec::IntoIter<u8>,
}

impl Application {
    pub(super) fn new(script: Vec<u8>) -> Self {
        Self {
            script: script.into_iter(),
        }
    }

    fn next(&mut self) -> u8 {
        self.script.next().unwrap_or(0)
    }

    /// Acts, and perhaps says when it is to be called by its timer.
    fn act(&mut self, due: &mut Option<Instant>, socket: &mut Socket<'_>) {
        let what = [self.next(), self.next()];
        if let [0x30..0x60, how] = what {
            let time = Duration::from_millis(1 + u64::from(how) * 50);
            *due = Some(socket.now() + time);
        }
        act(socket, what);
    }
}

impl Service for Application {
    /// When its timer is due.
    type Connection = Option<Instant>;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Option<Instant> {
        let mut due = None;
        self.act(&mut due, socket);
        due
    }

    fn on_data(
        &mut self,
        due: &mut Option<Instant>,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> usize {
        assert!(!data.is_empty(), "nothing is offered");
        self.act(due, socket);
        match self.next() {
            0..0xa0 => data.len(),
            0xa0..0xc0 => data.len() / 2,
            0xc0..0xe0 => 1,
            _ => 0,
        }
    }

    fn on_writable(&mut self, due: &mut Option<Instant>, socket: &mut Socket<'_>) {
        self.act(due, socket);
    }

    fn on_peer_close(&mut self, due: &mut Option<Instant>, socket: &mut Socket<'_>) {
        match self.next() {
            0..0xc0 => socket.close(),
            _ => self.act(due, socket),
        }
    }

    fn deadline(&self, due: &Option<Instant>) -> Option<Instant> {
        *due
    }

    fn on_timer(&mut self, due: &mut Option<Instant>, socket: &mut Socket<'_>) {
        assert!(
            due.take().is_some_and(|due| due <= socket.now()),
            "called in time"
        );
        assert_ne!(socket.state(), State::Closed);
        self.act(due, socket);
    }
}

/// One call of whatever kind.
pub(super) fn act(socket: &mut Socket<'_>, [what, how]: [u8; 2]) {
    match what {
        0..0x60 => {}
        0x60..0x90 => {
            socket.send(&vec![how; 1 + usize::from(how) * 40]);
        }
        0x90..0xa0 => {
            let mut left = usize::from(how);
            socket.send_with(1 << (how % 20), |room| {
                let written = room.len().min(left * 16);
                left /= 2;
                room[..written].fill(b'w');
                written
            });
        }
        0xa0..0xa8 => socket.shutdown(),
        0xa8..0xb0 => socket.close(),
        0xb0..0xb2 => socket.abort(),
        0xb2..0xb8 => socket.set_nodelay(how & 1 != 0),
        0xb8..0xc0 => socket.set_cork(how & 1 != 0),
        0xc0..0xc8 => socket.set_quickack(how & 1 != 0),
        0xc8..0xd0 => socket.set_keepalive((how & 1 != 0).then(|| Keepalive {
            idle: Duration::from_secs(u64::from(how)),
            interval: Duration::from_secs(1),
            count: how % 4,
        })),
        0xd0..0xd8 => {
            let timeout = Duration::from_millis(u64::from(how) * 100);
            socket.set_user_timeout((how & 1 != 0).then_some(timeout));
        }
        0xd8..0xe0 => socket.set_linger(match how % 3 {
            0 => Linger::Background,
            1 => Linger::For(Duration::from_millis(u64::from(how) * 50)),
            _ => Linger::Reset,
        }),
        0xe0..0xe8 => socket.set_congestion(Algorithm::ALL[usize::from(how % 3)]),
        0xe8..0xf8 => socket.update_options(|options| {
            let octets = 1 << (how % 22);
            match how >> 5 {
                0 => options.receive_buffer = BufferLimit::Auto(octets),
                1 => options.receive_buffer = BufferLimit::Fixed(octets),
                2 => options.send_buffer = BufferLimit::Auto(octets),
                3 => options.send_buffer = BufferLimit::Fixed(octets),
                4 => options.window_clamp = Some(octets),
                5 => options.notsent_lowat = Some(octets),
                6 => options.max_pacing_rate = Some(u64::from(octets)),
                _ => options.fin_wait_2 = Duration::from_millis(octets.into()),
            }
        }),
        _ => {
            socket.info();
        }
    }
}
