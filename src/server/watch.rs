//! What a server looks after while it runs: that frames still come to it. It has given up what would
//! mend most of what can go wrong with an interface, so it says what it is, and ends with a status of
//! its own (see [`ServeError::exit_status`]), by which whoever supervises it knows to start it again.
//!
//! Looked for once a second, by questions that need no privileges. What the kernel itself refuses is not
//! looked for: another XDP program beside our link, fewer queues than have sockets.

use super::{Running, ServeError};
use crate::time::{Duration, Instant};
use crate::worker::Order;

/// How often a line is said about panics.
const PANICS_INTERVAL: Duration = Duration::from_secs(10);

/// What was seen last.
#[derive(Debug)]
pub(super) struct Watch {
    mtu: u32,
    /// What frames hold.
    largest_mtu: u32,
    panics: u64,
    next_panics: Instant,
}

impl Watch {
    /// Of an interface that has this MTU.
    pub(super) fn new(mtu: u32) -> Self {
        Self {
            mtu,
            largest_mtu: mtu,
            panics: 0,
            next_panics: Instant::ZERO,
        }
    }

    pub(super) fn set_largest_mtu(&mut self, largest: u32) {
        self.largest_mtu = largest;
    }

    /// What connections are to use from now on, and what to say, if the MTU has changed.
    fn note_mtu(&mut self, interface: &str, mtu: u32) -> Option<(u16, String)> {
        if mtu == std::mem::replace(&mut self.mtu, mtu) {
            return None;
        }
        let used = mtu.min(self.largest_mtu);
        let mut notice = format!("the MTU of {interface} is {mtu} now");
        if used < mtu {
            notice += &format!(
                ", of which connections here use {used}: what frames hold is chosen at the start"
            );
        }
        Some((u16::try_from(used).unwrap_or(u16::MAX), notice))
    }

    /// What to say about so many panics in all; now and then.
    fn note_panics(&mut self, now: Instant, panics: u64) -> Option<String> {
        if panics == self.panics || now < self.next_panics {
            return None;
        }
        self.panics = panics;
        self.next_panics = now + PANICS_INTERVAL;
        Some(format!(
            "a mistake in a service: it has panicked, and the connection was reset (panics until now: \
             {panics})"
        ))
    }
}

impl Running {
    /// Whether the interface is up is its administrator's business, and so are its addresses; that it
    /// is there is ours, and that frames to it still come to us.
    pub(super) fn look_around(&mut self) -> Result<(), ServeError> {
        let device = &self.device;
        let name = || device.name().to_owned();
        match device.mac_now() {
            Err(_) => return Err(ServeError::InterfaceGone(name())),
            Ok(mac) if mac != device.mac() => return Err(ServeError::MacChanged(name())),
            Ok(_) => {}
        }
        if !self.program.is_in_force() {
            // An interface that goes takes its program along.
            return Err(match device.mac_now() {
                Ok(_) => ServeError::ProgramGone(name()),
                Err(_) => ServeError::InterfaceGone(name()),
            });
        }
        // A driver may not answer while it is busy.
        if let Some(now) = device.rx_queues_now()
            && now != device.rx_queues()
        {
            return Err(ServeError::QueuesChanged {
                interface: name(),
                before: device.rx_queues(),
                now,
            });
        }
        if let Ok(mtu) = device.mtu_now()
            && let Some((used, notice)) = self.watch.note_mtu(device.name(), mtu)
        {
            self.order(&Order::Mtu(used));
            self.tell(Some(notice));
        }
        let panics = self.workers.iter().map(|it| it.mailbox.panics()).sum();
        let notice = self.watch.note_panics(self.clock.now(), panics);
        self.tell(notice);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_mtu_is_told_once_and_stays_within_the_frames() {
        let mut watch = Watch::new(1_500);
        watch.set_largest_mtu(1_774);
        assert!(watch.note_mtu("eth0", 1_500).is_none());
        let (used, notice) = watch.note_mtu("eth0", 1_400).unwrap();
        assert_eq!((used, &*notice), (1_400, "the MTU of eth0 is 1400 now"));
        assert!(watch.note_mtu("eth0", 1_400).is_none());
        let (used, notice) = watch.note_mtu("eth0", 100_000).unwrap();
        assert!(used == 1_774 && notice.contains("use 1774"), "{notice}");
    }

    #[test]
    fn panics_are_told_now_and_then() {
        let mut watch = Watch::new(1_500);
        let start = Instant::from_millis(1);
        assert!(watch.note_panics(start, 0).is_none());
        assert!(
            watch
                .note_panics(start, 1)
                .unwrap()
                .contains("until now: 1")
        );
        for panics in 1..1_000 {
            let later = start + Duration::from_millis(panics);
            assert!(watch.note_panics(later, panics).is_none());
        }
        let later = start + PANICS_INTERVAL;
        assert!(watch.note_panics(later, 1_000).unwrap().contains("1000"));
    }
}
