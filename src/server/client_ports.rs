//! The ports of active opens: none that the kernel gives out or listens on, and dealt to workers by
//! where their answers arrive.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use procfs::net::TcpState;

use super::ServeError;
use super::plan::Share;
use crate::stack::{Rss, Steering};
use crate::xdp::Device;

const LOCAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// That the kernel gives no port of `range` to its own connections, whose answers would come to us,
/// and nobody listens there.
pub(super) fn check(range: &RangeInclusive<u16>, addresses: &[IpAddr]) -> Result<(), ServeError> {
    // Without these files there is no TCP of the kernel.
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(kernel) = conflict(range, &read(LOCAL_RANGE), &read(RESERVED)) {
        return Err(ServeError::ClientPorts {
            first: *range.start(),
            last: *range.end(),
            kernel_first: *kernel.start(),
            kernel_last: *kernel.end(),
        });
    }
    let v4 = procfs::net::tcp().unwrap_or_default();
    let v6 = procfs::net::tcp6().unwrap_or_default();
    let listening = v4.into_iter().chain(v6).find(|entry| {
        let at = entry.local_address;
        entry.state == TcpState::Listen
            && range.contains(&at.port())
            && (at.ip().is_unspecified() || addresses.contains(&at.ip()))
    });
    match listening {
        Some(entry) => Err(ServeError::Listening {
            port: entry.local_address.port(),
            listener: entry.local_address,
            owner: super::ports::owner(entry.inode),
        }),
        None => Ok(()),
    }
}

/// The kernel's range, if it has a port of ours that is not reserved. Both texts as the kernel
/// writes them: `32768\t60999` and `8080,9148-9150`.
fn conflict(
    range: &RangeInclusive<u16>,
    local_range: &str,
    reserved: &str,
) -> Option<RangeInclusive<u16>> {
    let mut bounds = local_range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (bounds.next(), bounds.next()) else {
        return None;
    };
    let reserved: Vec<RangeInclusive<u16>> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect();
    let is_free = |port: &u16| {
        (first..=last).contains(port) && !reserved.iter().any(|part| part.contains(port))
    };
    range
        .clone()
        .any(|port| is_free(&port))
        .then_some(first..=last)
}

/// Whose port is whose: by the device's hash if it says how it hashes and every worker has queues
/// that it uses, else dealt round.
pub(super) fn steering(device: &Device, shares: &[Share]) -> Vec<Steering> {
    let rss = device
        .rss()
        .and_then(|it| Rss::new(&it.key, &it.table))
        .filter(|rss| {
            let has_queue = |share: &Share| share.queues.iter().any(|&queue| rss.uses(queue));
            shares.iter().all(has_queue)
        });
    // A server has at most as many workers as the device has queues.
    let of = shares.len() as u16;
    match rss {
        Some(rss) if shares.len() > 1 => {
            let rss = Arc::new(rss);
            let hashed = || Steering::Hashed(Arc::clone(&rss));
            shares.iter().map(|_| hashed()).collect()
        }
        _ => (0..of).map(|index| Steering::Dealt { index, of }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_kernel_gives_out_is_a_conflict() {
        let ours = 61_000..=65_535;
        assert_eq!(conflict(&ours, "32768\t60999\n", "\n"), None);
        assert_eq!(conflict(&ours, "1024\t65535\n", "\n"), Some(1_024..=65_535));
        assert_eq!(conflict(&ours, "32768\t61000\n", ""), Some(32_768..=61_000));
    }

    #[test]
    fn reserved_ports_are_none() {
        let ours = 61_000..=65_535;
        let all = "8080,61000-65535\n";
        assert_eq!(conflict(&ours, "1024\t65535\n", all), None);
        let not_all = "8080,61001-65535\n";
        assert!(conflict(&ours, "1024\t65535\n", not_all).is_some());
        assert_eq!(conflict(&(5..=5), "1 10", "5"), None);
    }
}
