//! SYN floods as an administrator hears of them: a line when one begins on a port, and one when it
//! has ended, however many workers and addresses it meets.

use std::collections::BTreeMap;

use crate::stack::SynFlood;

/// On which ports SYN cookies are sent, and by how many listeners: each worker has one per address.
#[derive(Debug, Default)]
pub(super) struct Floods(BTreeMap<u16, usize>);

impl Floods {
    /// What there is to say about a change.
    pub(super) fn note(&mut self, flood: SynFlood) -> Option<String> {
        let port = flood.port;
        let listeners = self.0.entry(port).or_default();
        if flood.is_on {
            *listeners += 1;
            return (*listeners == 1)
                .then(|| format!("possible SYN flood on port {port}: sending cookies"));
        }
        *listeners = listeners.saturating_sub(1);
        if *listeners > 0 {
            return None;
        }
        self.0.remove(&port);
        Some(format!(
            "the SYN flood on port {port} is over: no more cookies"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut floods = Floods::default();
        let mut note = |port, is_on| floods.note(SynFlood { port, is_on });
        let begins = note(80, true).unwrap();
        assert_eq!(begins, "possible SYN flood on port 80: sending cookies");
        assert_eq!(note(80, true), None, "another worker's");
        assert!(note(443, true).unwrap().contains("443"));
        assert_eq!(note(80, false), None);
        assert!(note(80, false).unwrap().contains("port 80 is over"));
        assert_eq!(note(80, true), Some(begins));
    }
}
