//! The fast face of the stack: callbacks that run to completion on the worker, within the turn in
//! which their cause arrived.

use std::net::SocketAddr;

use super::ConnectError;
use super::arena::Arena;
use crate::tcp::congestion::Algorithm;
use crate::tcp::{CloseReason, Context, Info, Keepalive, Linger, SocketOptions, State, Tcb};
use crate::time::{Duration, Instant};
use crate::wire::FlowKey;

/// An application. One instance per core; it shares nothing with those on other cores.
///
/// A callback must not block: while it runs, its core serves nobody else.
pub trait Service: Send + 'static {
    /// What the application remembers of one connection; the stack keeps it.
    type Connection: Send;

    /// A connection is established.
    fn on_open(&mut self, socket: &mut Socket<'_>) -> Self::Connection;

    /// Text has arrived: `data` is a part of the received frame. Returns how many octets of its
    /// beginning are consumed. The rest is kept and offered again, with what follows it, after each
    /// segment that arrives and each [`on_writable`](Self::on_writable).
    fn on_data(
        &mut self,
        connection: &mut Self::Connection,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> usize;

    /// There is room again after a [`Socket::send`] or [`Socket::send_with`] that was cut short.
    fn on_writable(&mut self, connection: &mut Self::Connection, socket: &mut Socket<'_>) {
        let _ = (connection, socket);
    }

    /// The peer has closed its side, and all that it sent has been consumed. Closes ours as well,
    /// unless overridden.
    fn on_peer_close(&mut self, connection: &mut Self::Connection, socket: &mut Socket<'_>) {
        let _ = connection;
        socket.close();
    }

    /// When [`on_timer`](Self::on_timer) is due for a connection; `None`: never. Asked after
    /// everything that has happened to it; a service that never sets one keeps this, and pays
    /// nothing. What has passed must not be answered again after the callback.
    fn deadline(&self, connection: &Self::Connection) -> Option<Instant> {
        let _ = connection;
        None
    }

    /// The connection's [`deadline`](Self::deadline) has come.
    fn on_timer(&mut self, connection: &mut Self::Connection, socket: &mut Socket<'_>) {
        let _ = (connection, socket);
    }

    /// What the service has counted, by names of its own; shown with the stack's counters.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// A connection that was to be opened is not: no way to the peer, no answer, or a refusal.
    /// Instead of [`on_open`](Self::on_open); `token` is what it would have been known by.
    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError) {
        let _ = (remote, token, error);
    }

    /// The connection is gone. Called once for each [`on_open`](Self::on_open).
    fn on_close(&mut self, connection: Self::Connection, reason: CloseReason) {
        let _ = (connection, reason);
    }
}

/// One connection, as its application may use it during a callback.
#[expect(missing_debug_implementations, reason = "a bundle of borrows")]
pub struct Socket<'a> {
    pub(super) tcb: &'a mut Tcb,
    pub(super) cx: Context<'a>,
    pub(super) key: &'a FlowKey,
    pub(super) token: Option<u64>,
}

impl Socket<'_> {
    /// Queues as much of `data` as limits allow and returns that number. After less than all of
    /// it, [`Service::on_writable`] follows.
    pub fn send(&mut self, data: &[u8]) -> usize {
        self.tcb.send(&mut self.cx, data)
    }

    /// Lets `fill` write at most `limit` octets straight into TX frames, piece by piece. It
    /// returns how many it wrote; less than it was offered ends the call. Returns the total; if a
    /// limit of the stack's cut it short, [`Service::on_writable`] follows.
    pub fn send_with(&mut self, limit: usize, mut fill: impl FnMut(&mut [u8]) -> usize) -> usize {
        self.tcb.send_with(&mut self.cx, limit, &mut fill)
    }

    /// No more to send: a FIN follows what is queued. Text still arrives.
    pub fn shutdown(&mut self) {
        self.tcb.shutdown(&mut self.cx);
    }

    /// Done in both directions: a FIN follows what is queued. Text that is unread or still arrives
    /// resets the connection.
    pub fn close(&mut self) {
        self.tcb.close(&mut self.cx);
    }

    /// Resets the connection.
    pub fn abort(&mut self) {
        self.tcb.abort(&mut self.cx);
    }

    /// The connection's options.
    pub fn options(&self) -> &SocketOptions {
        self.tcb.options(self.cx.core)
    }

    /// Changes the connection's options, as far as they can still count: the window scale and the
    /// MSS are the handshake's.
    pub fn set_options(&mut self, options: SocketOptions) {
        self.tcb.set_options(&mut self.cx, options);
    }

    /// Changes some of the connection's options.
    pub fn update_options(&mut self, change: impl FnOnce(&mut SocketOptions)) {
        self.tcb.update_options(&mut self.cx, change);
    }

    /// Switches Nagle's algorithm off or on.
    pub fn set_nodelay(&mut self, nodelay: bool) {
        self.update_options(|options| options.nodelay = nodelay);
    }

    /// Holds segments that are not full back, for at most 200 ms; or lets them go.
    pub fn set_cork(&mut self, cork: bool) {
        self.update_options(|options| options.cork = cork);
    }

    /// Acknowledges everything at once, or not.
    pub fn set_quickack(&mut self, quickack: bool) {
        self.update_options(|options| options.quickack = quickack);
    }

    /// Switches keepalive probes on or off.
    pub fn set_keepalive(&mut self, keepalive: Option<Keepalive>) {
        self.update_options(|options| options.keepalive = keepalive);
    }

    /// How long what was written may wait for its acknowledgment.
    pub fn set_user_timeout(&mut self, user_timeout: Option<Duration>) {
        self.update_options(|options| options.user_timeout = user_timeout);
    }

    /// What a close does with text that is not acknowledged.
    pub fn set_linger(&mut self, linger: Linger) {
        self.update_options(|options| options.linger = linger);
    }

    /// Another congestion control, which goes on with the window of the one before.
    pub fn set_congestion(&mut self, congestion: Algorithm) {
        self.update_options(|options| options.congestion = congestion);
    }

    /// What there is to know of the connection (`tcp_info`).
    pub fn info(&self) -> Info {
        self.tcb.info(self.cx.core, self.cx.now)
    }

    /// The state of the connection.
    pub fn state(&self) -> State {
        self.tcb.state()
    }

    /// Addresses and ports.
    pub fn key(&self) -> &FlowKey {
        self.key
    }

    /// What whoever opened this connection knows it by; `None` if that was the peer.
    pub fn token(&self) -> Option<u64> {
        self.token
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.cx.now
    }
}

/// A [`Service`] of whatever type, with the connections that it remembers.
pub(super) trait AnyService: Send {
    fn on_open(&mut self, socket: &mut Socket<'_>) -> u32;
    fn on_data(&mut self, connection: u32, socket: &mut Socket<'_>, data: &[u8]) -> usize;
    fn on_writable(&mut self, connection: u32, socket: &mut Socket<'_>);
    fn on_peer_close(&mut self, connection: u32, socket: &mut Socket<'_>);
    fn deadline(&self, connection: u32) -> Option<Instant>;
    fn on_timer(&mut self, connection: u32, socket: &mut Socket<'_>);
    fn counters(&self) -> Vec<(&'static str, u64)>;
    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError);
    fn on_close(&mut self, connection: u32, reason: CloseReason);
}

/// See [`AnyService`].
pub(super) struct Hosted<S: Service> {
    pub(super) service: S,
    pub(super) connections: Arena<S::Connection>,
}

impl<S: Service> AnyService for Hosted<S> {
    fn on_open(&mut self, socket: &mut Socket<'_>) -> u32 {
        let connection = self.service.on_open(socket);
        self.connections.insert(connection)
    }

    fn on_data(&mut self, connection: u32, socket: &mut Socket<'_>, data: &[u8]) -> usize {
        match self.connections.get_mut(connection) {
            Some(connection) => self.service.on_data(connection, socket, data),
            None => data.len(),
        }
    }

    fn on_writable(&mut self, connection: u32, socket: &mut Socket<'_>) {
        if let Some(connection) = self.connections.get_mut(connection) {
            self.service.on_writable(connection, socket);
        }
    }

    fn on_peer_close(&mut self, connection: u32, socket: &mut Socket<'_>) {
        if let Some(connection) = self.connections.get_mut(connection) {
            self.service.on_peer_close(connection, socket);
        }
    }

    fn deadline(&self, connection: u32) -> Option<Instant> {
        let connection = self.connections.get(connection)?;
        self.service.deadline(connection)
    }

    fn on_timer(&mut self, connection: u32, socket: &mut Socket<'_>) {
        if let Some(connection) = self.connections.get_mut(connection) {
            self.service.on_timer(connection, socket);
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.service.counters()
    }

    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError) {
        self.service.on_connect_failed(remote, token, error);
    }

    fn on_close(&mut self, connection: u32, reason: CloseReason) {
        if let Some(connection) = self.connections.remove(connection) {
            self.service.on_close(connection, reason);
        }
    }
}
