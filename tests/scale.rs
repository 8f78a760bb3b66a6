//! How much a crowd of idle connections costs. Alone in its process, since it measures that.

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/resident.rs"]
mod resident;

use crowd::Crowd;
use memory::Echo;
use resident::resident;

const CONNECTIONS: usize = 1_000_000;
/// Open before anything is measured: frames, code and stacks are in memory by then.
const WARM: usize = 10_000;

/// All that a connection takes, as the kernel counts it: connection, tables, timers, and whatever
/// the allocator adds to them.
#[test]
fn a_million_idle_connections_take_512_octets_each() {
    let mut crowd = Crowd::new(CONNECTIONS, Echo);
    crowd.open(0..WARM);
    let before = resident();
    crowd.open(WARM..CONNECTIONS);
    let after = resident();
    assert_eq!(crowd.server.live_connections(), CONNECTIONS);
    let each = (after - before) as f64 / (CONNECTIONS - WARM) as f64;
    println!("{each:.1} octets each");
    assert!(each <= 512.0, "{each:.1}");
    // They are all there.
    crowd.ask((0..CONNECTIONS).step_by(997), b"hello", 64);
}
