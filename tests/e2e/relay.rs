//! The relay, proved between two kernels before anything else is tried through it.

use std::net::TcpListener;

use corelane::time::{Clock, Duration};

use crate::require_root;
use crate::support::relay::Impairment;
use crate::support::{Lab, Link, SERVER_V4, SERVER_V6, stream};

const MIB: u64 = 1 << 20;

/// Kernel to kernel through the relay: `length` octets each way, one after the other.
fn transfer(lab: &Lab, address: &str, length: u64) {
    let listener = lab
        .server
        .run(|| TcpListener::bind((address, 4_000)).expect("a free port"));
    let client = stream::connect(&lab.client, address, 4_000).expect("a connection");
    let (server, _) = listener.accept().expect("the connection is there");
    let clock = Clock::start();
    let before = clock.now();
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| stream::send(&client, length));
        stream::receive(&server, length).expect("client to server");
        sent.join().expect("no panic").expect("client to server");
        let sent = scope.spawn(|| stream::send(&server, length));
        stream::receive(&client, length).expect("server to client");
        sent.join().expect("no panic").expect("server to client");
    });
    let taken = clock.now().saturating_since(before);
    println!("2 x {} MiB over {address} in {taken}", length / MIB);
}

#[test]
fn a_perfect_relay_changes_nothing() {
    require_root!();
    let mut lab = Lab::with_relay(Link::default(), [Impairment::default(); 2], 1);
    transfer(&lab, SERVER_V4, 64 * MIB);
    transfer(&lab, SERVER_V6, 16 * MIB);
    for counts in lab.stop_relay() {
        println!("{counts:?}");
        // 80 MiB one way are at least 57000 frames of 1460 octets.
        assert!(counts.sent > 57_000, "{counts:?}");
        assert_eq!((counts.lost, counts.oversized), (0, 0), "{counts:?}");
    }
}

#[test]
fn streams_survive_loss_reordering_and_duplication() {
    require_root!();
    let bad = Impairment {
        loss: 10_000,
        reorder: 10_000,
        duplicate: 1_000,
        ..Impairment::default()
    };
    let mut lab = Lab::with_relay(Link::default(), [bad; 2], 2);
    transfer(&lab, SERVER_V4, 64 * MIB);
    for counts in lab.stop_relay() {
        println!("{counts:?}");
        assert!(
            counts.lost > 200 && counts.reordered > 200 && counts.duplicated > 20,
            "{counts:?}"
        );
        assert_eq!(counts.oversized, 0, "{counts:?}");
    }
}

#[test]
fn delay_and_bandwidth_are_what_was_asked_for() {
    require_root!();
    let slow = Impairment {
        delay: Duration::from_millis(20),
        bandwidth: 50_000_000,
        ..Impairment::default()
    };
    let lab = Lab::with_relay(Link::default(), [slow; 2], 3);
    let listener = lab
        .server
        .run(|| TcpListener::bind((SERVER_V4, 4_001)).expect("a free port"));
    // The first connection also resolves addresses, which takes round trips of its own.
    drop(stream::connect(&lab.client, SERVER_V4, 4_001).expect("a connection"));
    let clock = Clock::start();
    let before = clock.now();
    drop(stream::connect(&lab.client, SERVER_V4, 4_001).expect("a connection"));
    let handshake = clock.now().saturating_since(before);
    assert!((40..80).contains(&handshake.as_millis()), "{handshake}");
    drop(listener);

    let before = clock.now();
    transfer(&lab, SERVER_V4, 4 * MIB);
    // 2 x 4 MiB at 50 Mbit/s are 1.34 s.
    let taken = clock.now().saturating_since(before);
    assert!(taken >= Duration::from_millis(1_300), "{taken}");
}
