//! Corelane behind a bad network.

use std::time::Duration;

use crate::require_root;
use crate::support::relay::Impairment;
use crate::support::{Lab, Link, SERVER_V4, SERVER_V6, Server, stream, wait_until};

const MIB: u64 = 1 << 20;

/// Echoes through a relay with `impairments`; the relay must have done what was asked for.
fn echo_through(impairments: [Impairment; 2], seed: u64, transfers: &[(&str, u64)]) {
    let mut lab = Lab::with_relay(Link::default(), impairments, seed);
    let server = Server::start(&lab.server, &["echo:7"]);
    for &(address, length) in transfers {
        // The relay may lose the handshake too; the kernel tries again after a second.
        let client = stream::connect(&lab.client, address, 7).expect("a connection");
        if let Err(error) = stream::echo(&client, length) {
            panic!(
                "{length} octets over {address}: {error}\n{}",
                server.ss(&[])
            );
        }
    }
    let idle = wait_until(Duration::from_secs(30), || {
        !server.ss(&[]).to_ascii_lowercase().contains("estab")
    });
    assert!(idle, "{}", server.ss(&[]));
    let counts = lab.stop_relay();
    println!("{counts:?}");
    for (counts, impairment) in counts.into_iter().zip(impairments) {
        assert_eq!(counts.oversized, 0, "{counts:?}");
        assert_eq!(
            counts.lost > 0,
            impairment.loss + impairment.burst > 0,
            "{counts:?}"
        );
        assert_eq!(counts.reordered > 0, impairment.reorder > 0, "{counts:?}");
        assert_eq!(
            counts.duplicated > 0,
            impairment.duplicate > 0,
            "{counts:?}"
        );
    }
    drop(server);
    lab.assert_clean();
}

#[test]
fn loss_and_reordering() {
    require_root!();
    let bad = Impairment {
        loss: 10_000,
        reorder: 10_000,
        ..Impairment::default()
    };
    echo_through(
        [bad; 2],
        11,
        &[(SERVER_V4, 64 * MIB), (SERVER_V6, 16 * MIB)],
    );
}

#[test]
fn bursts_of_loss_with_delay() {
    require_root!();
    let bad = Impairment {
        burst: 1_000,
        burst_length: 6,
        delay: corelane::time::Duration::from_millis(5),
        ..Impairment::default()
    };
    echo_through([bad; 2], 12, &[(SERVER_V4, 4 * MIB)]);
}

#[test]
fn duplicates_and_reordering() {
    require_root!();
    let bad = Impairment {
        duplicate: 50_000,
        reorder: 50_000,
        ..Impairment::default()
    };
    echo_through([bad; 2], 13, &[(SERVER_V4, 32 * MIB)]);
}

#[test]
fn a_narrow_link_with_a_short_queue() {
    require_root!();
    let narrow = Impairment {
        bandwidth: 100_000_000,
        delay: corelane::time::Duration::from_millis(2),
        queue_limit: 50,
        ..Impairment::default()
    };
    echo_through([narrow; 2], 14, &[(SERVER_V4, 16 * MIB)]);
}
