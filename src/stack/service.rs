//! The fast face of the stack: callbacks that run to completion on the worker, within the turn in
//! which their cause arrived.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::arena::Arena;
use super::{ConnectError, Destination};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{
    CloseReason, Context, Counters, Info, Keepalive, Linger, SocketOptions, State, Tcb,
};
use crate::time::{Duration, Instant};
use crate::wire::FlowKey;

/// An application. One instance per core; it shares nothing with those on other cores.
///
/// A callback must not block: while it runs, its core serves nobody else.
///
/// A callback that panics loses its connection and no other: the connection is reset, what the
/// application remembers of it is dropped without [`on_close`](Self::on_close), and
/// `application_panics` counts. The service itself goes on as the panic has left it: what it keeps for
/// several connections must not be left half changed.
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

    /// Which connection to open next, of a service that
    /// [may open some by itself](super::Stack::let_open). Asked in each turn, again and again until it
    /// wants none. `counters` are those of the core's TCP.
    fn poll_open(&mut self, now: Instant, counters: &Counters) -> Wish {
        let _ = (now, counters);
        Wish::Until(Instant::FAR_FUTURE)
    }

    /// The connection is gone. Called once for each [`on_open`](Self::on_open), unless a callback of
    /// the connection has panicked.
    fn on_close(&mut self, connection: Self::Connection, reason: CloseReason) {
        let _ = (connection, reason);
    }
}

/// What a service that opens connections by itself [wants](Service::poll_open).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A connection to there. [`Service::on_open`] or [`Service::on_connect_failed`] follows, with
    /// this token.
    Open(Destination, u64),
    /// None now. The next turn comes at this time at the latest.
    Until(Instant),
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
        let mut panic = None;
        // A panic goes round the TCB, which is in the middle of a segment: to it, nothing more was
        // written. What the closure has left half done is its own caller's, whom the panic reaches.
        let sent = self.tcb.send_with(&mut self.cx, limit, &mut |room| {
            catch_unwind(AssertUnwindSafe(|| fill(room))).unwrap_or_else(|payload| {
                panic = Some(payload);
                0
            })
        });
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        sent
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

/// A callback has panicked: its connection is to be reset, and forgotten by its service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panicked;

/// A [`Service`] of whatever type, with the connections that it remembers. Panics end here.
pub(super) trait AnyService: Send {
    fn on_open(&mut self, socket: &mut Socket<'_>) -> Result<u32, Panicked>;
    fn on_data(
        &mut self,
        connection: u32,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> Result<usize, Panicked>;
    fn on_writable(&mut self, connection: u32, socket: &mut Socket<'_>) -> Result<(), Panicked>;
    fn on_peer_close(&mut self, connection: u32, socket: &mut Socket<'_>) -> Result<(), Panicked>;
    fn deadline(&mut self, connection: u32) -> Result<Option<Instant>, Panicked>;
    /// [`deadline`](Self::deadline) of a service that does not panic.
    #[cfg(any(test, fuzzing))]
    fn peek_deadline(&self, connection: u32) -> Option<Instant>;
    fn on_timer(&mut self, connection: u32, socket: &mut Socket<'_>) -> Result<(), Panicked>;
    fn counters(&self) -> Vec<(&'static str, u64)>;
    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError);
    fn poll_open(&mut self, now: Instant, counters: &Counters) -> Wish;
    fn on_close(&mut self, connection: u32, reason: CloseReason);
    /// A callback of the connection has panicked: what is remembered of it is dropped.
    fn forget(&mut self, connection: u32);
    /// Panics until now.
    fn panics(&self) -> u64;
}

/// See [`AnyService`].
pub(super) struct Hosted<S: Service> {
    service: S,
    connections: Arena<S::Connection>,
    panics: u64,
}

impl<S: Service> Hosted<S> {
    pub(super) fn new(service: S) -> Self {
        Self {
            service,
            connections: Arena::new(),
            panics: 0,
        }
    }

    /// Calls the application.
    ///
    /// What a panic may leave half changed, and why nobody sees it: the application's connection is
    /// dropped next ([`forget`](AnyService::forget)); its TCB is reset, and gives back all that it
    /// holds; the service goes on, as [`Service`] says. The stack's own books are changed by a
    /// [`Socket`]'s methods alone, into which no code of the application is called that could unwind
    /// through them. Unwinding goes by tables: where nothing panics, nothing is counted or checked.
    fn guard<R>(&mut self, call: impl FnOnce(&mut Self) -> R) -> Result<R, Panicked> {
        catch_unwind(AssertUnwindSafe(|| call(self))).map_err(|payload| self.note_panic(payload))
    }

    fn call<R>(
        &mut self,
        connection: u32,
        call: impl FnOnce(&mut S, &mut S::Connection) -> R,
    ) -> Result<Option<R>, Panicked> {
        self.guard(|this| {
            let connection = this.connections.get_mut(connection)?;
            Some(call(&mut this.service, connection))
        })
    }

    #[cold]
    fn note_panic(&mut self, payload: Box<dyn Any + Send>) -> Panicked {
        self.panics += 1;
        // It has been printed. To drop it is to call the application once more.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        Panicked
    }
}

impl<S: Service> AnyService for Hosted<S> {
    fn on_open(&mut self, socket: &mut Socket<'_>) -> Result<u32, Panicked> {
        let connection = self.guard(|this| this.service.on_open(socket))?;
        Ok(self.connections.insert(connection))
    }

    fn on_data(
        &mut self,
        connection: u32,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> Result<usize, Panicked> {
        let consumed = self.call(connection, |service, connection| {
            service.on_data(connection, socket, data)
        })?;
        Ok(consumed.unwrap_or(data.len()))
    }

    fn on_writable(&mut self, connection: u32, socket: &mut Socket<'_>) -> Result<(), Panicked> {
        self.call(connection, |service, connection| {
            service.on_writable(connection, socket);
        })?;
        Ok(())
    }

    fn on_peer_close(&mut self, connection: u32, socket: &mut Socket<'_>) -> Result<(), Panicked> {
        self.call(connection, |service, connection| {
            service.on_peer_close(connection, socket);
        })?;
        Ok(())
    }

    fn deadline(&mut self, connection: u32) -> Result<Option<Instant>, Panicked> {
        let deadline = self.call(connection, |service, connection| {
            service.deadline(connection)
        })?;
        Ok(deadline.flatten())
    }

    #[cfg(any(test, fuzzing))]
    fn peek_deadline(&self, connection: u32) -> Option<Instant> {
        self.service.deadline(self.connections.get(connection)?)
    }

    fn on_timer(&mut self, connection: u32, socket: &mut Socket<'_>) -> Result<(), Panicked> {
        self.call(connection, |service, connection| {
            service.on_timer(connection, socket);
        })?;
        Ok(())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Whoever asks does without them then; no connection has a part in it.
        catch_unwind(AssertUnwindSafe(|| self.service.counters())).unwrap_or_default()
    }

    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError) {
        // There is no connection to lose.
        let _ = self.guard(|this| this.service.on_connect_failed(remote, token, error));
    }

    fn poll_open(&mut self, now: Instant, counters: &Counters) -> Wish {
        // Whatever it wanted, it cannot say.
        let wish = self.guard(|this| this.service.poll_open(now, counters));
        wish.unwrap_or(Wish::Until(Instant::FAR_FUTURE))
    }

    fn on_close(&mut self, connection: u32, reason: CloseReason) {
        if let Some(connection) = self.connections.remove(connection) {
            // It is over in any case.
            let _ = self.guard(|this| this.service.on_close(connection, reason));
        }
    }

    fn forget(&mut self, connection: u32) {
        if let Some(connection) = self.connections.remove(connection) {
            let _ = self.guard(|_| drop(connection));
        }
    }

    fn panics(&self) -> u64 {
        self.panics
    }
}
