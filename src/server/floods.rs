//! SYN floods as an administrator hears of them: a line when one begins on a port, and one when it
//! has ended, however many workers and addresses it meets.

use std::collections::{BTreeMap, BTreeSet};

use crate::stack::SynFlood;
use crate::wire::{Address, CookieTerms};

/// Which listeners send SYN cookies: each worker has one per address and port.
#[derive(Debug, Default)]
pub(super) struct Floods(BTreeMap<(u16, Address), Flood>);

#[derive(Debug)]
struct Flood {
    workers: BTreeSet<usize>,
    terms: CookieTerms,
}

impl Floods {
    /// What there is to say about a change at a worker.
    pub(super) fn note(&mut self, worker: usize, flood: SynFlood) -> Option<String> {
        let SynFlood {
            address,
            port,
            terms,
        } = flood;
        let was_on = self.is_on(port);
        match terms {
            Some(terms) => {
                let workers = BTreeSet::new();
                let flood = self.0.entry((port, address));
                let flood = flood.or_insert(Flood { workers, terms });
                flood.terms = terms;
                flood.workers.insert(worker);
            }
            None => {
                if let Some(flood) = self.0.get_mut(&(port, address)) {
                    flood.workers.remove(&worker);
                }
                self.0.retain(|_, flood| !flood.workers.is_empty());
            }
        }
        match (was_on, self.is_on(port)) {
            (false, true) => Some(format!(
                "possible SYN flood on port {port}: sending cookies"
            )),
            (true, false) => Some(format!(
                "the SYN flood on port {port} is over: no more cookies"
            )),
            _ => None,
        }
    }

    /// Services under a flood, and what their cookies say.
    pub(super) fn under_way(&self) -> BTreeMap<(Address, u16), CookieTerms> {
        let terms =
            |(&(port, address), flood): (&(u16, Address), &Flood)| ((address, port), flood.terms);
        self.0.iter().map(terms).collect()
    }

    fn is_on(&self, port: u16) -> bool {
        self.0.keys().any(|&(of, _)| of == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: CookieTerms = CookieTerms {
        mss: 1_460,
        window: 64_240,
        window_scale: Some(7),
        sack: true,
        timestamps: true,
        ecn: false,
        traffic_class: 0,
        hop_limit: 64,
    };

    #[test]
    fn a_flood_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut floods = Floods::default();
        let address = |last| Address::from_ipv4([198, 18, 0, last]);
        let mut note = |worker, port, last, is_on: bool| {
            let flood = SynFlood {
                address: address(last),
                port,
                terms: is_on.then_some(TERMS),
            };
            let said = floods.note(worker, flood);
            (said, floods.under_way().into_keys().collect::<Vec<_>>())
        };
        let (begins, under_way) = note(0, 80, 1, true);
        let begins = begins.unwrap();
        assert_eq!(begins, "possible SYN flood on port 80: sending cookies");
        assert_eq!(under_way, [(address(1), 80)]);
        assert_eq!(note(1, 80, 1, true).0, None, "another worker's");
        assert_eq!(note(1, 80, 1, true).0, None, "told again");
        assert_eq!(note(1, 80, 2, true).0, None, "another address");
        assert!(note(0, 443, 1, true).0.unwrap().contains("443"));
        assert_eq!(note(0, 80, 1, false).0, None);
        let (said, under_way) = note(1, 80, 1, false);
        assert_eq!(said, None);
        assert_eq!(under_way, [(address(1), 443), (address(2), 80)]);
        assert!(note(1, 80, 2, false).0.unwrap().contains("80 is over"));
        assert_eq!(note(0, 80, 1, true).0, Some(begins));
    }
}
