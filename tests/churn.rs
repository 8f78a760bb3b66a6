//! Connections that come and go leave nothing behind. Alone in its process, since it measures that.

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/resident.rs"]
mod resident;

use corelane::time::Duration;
use crowd::Crowd;
use memory::{Echo, io};
use resident::resident;

/// At the same time.
const CLIENTS: usize = 4_096;
/// In all, unless `CORELANE_CHURN` says how many.
const CONNECTIONS: usize = 200_000;
/// What pages and the allocator's own books may add: far less than an octet for each connection.
const SLACK: usize = 64 << 10;

fn once(crowd: &mut Crowd) {
    crowd.open(0..CLIENTS);
    crowd.ask(0..CLIENTS, b"hello", 64);
    crowd.close(0..CLIENTS);
    // Nobody's timer is left to fire.
    crowd.now += Duration::from_secs(300);
    crowd.turn();
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let connections = match std::env::var("CORELANE_CHURN") {
        Ok(text) => text.parse().expect("CORELANE_CHURN is a number"),
        Err(_) => CONNECTIONS,
    };
    let mut crowd = Crowd::new(CLIENTS, Echo);
    for _ in 0..4 {
        once(&mut crowd);
    }
    let free = io(&mut crowd.server).tx_outstanding();
    let before = resident();
    for _ in 0..connections.div_ceil(CLIENTS) {
        once(&mut crowd);
    }
    let grown = resident().saturating_sub(before);
    println!("{connections} connections, {grown} octets");
    assert!(crowd.server.is_quiet());
    assert_eq!(crowd.server.connections(crowd.now).len(), 0);
    assert_eq!(io(&mut crowd.server).tx_outstanding(), free);
    assert!(grown <= SLACK, "{grown} octets");
}
