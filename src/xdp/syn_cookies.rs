//! SYN cookies sent by the program.

use std::mem::offset_of;
use std::os::fd::AsFd as _;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::error::{XdpError, map_error};
use super::program::skeleton::types::{corelane_cookie, corelane_secrets};
use super::program::{AttachMode, Program, delete, service_key};
use super::sys;
use crate::wire::{Address, CookieSecrets, CookieTerms};

/// The only key of an array of one.
const KEY: [u8; 4] = [0; 4];
/// Values of `services` (`enum corelane_service_flags`).
pub(super) const SERVED: u32 = 1;
const SENDS_COOKIES: u32 = 2;
/// `enum corelane_offers`.
const SCALE: u8 = 1 << 1;
const SACK: u8 = 1 << 2;
const TIMESTAMPS: u8 = 1 << 3;
const ECN: u8 = 1 << 4;
const PARTIAL_CHECKSUMS: u8 = 1 << 5;
const BY_REDIRECT: u8 = 1 << 6;
/// Where it is in `struct corelane_cookie`.
const OFFERS: usize = offset_of!(corelane_cookie, offers);
/// linux/netdev.h: NETDEV_XDP_ACT_NDO_XMIT, the device takes frames from programs of others.
const TAKES_FRAMES: u64 = 1 << 2;

/// The maps behind it.
#[derive(Debug)]
pub(super) struct CookieMaps {
    pub(super) cookies: MapHandle,
    pub(super) secrets: MapHandle,
    /// The kernel empties an array of programs that nobody holds any more.
    pub(super) _programs: MapHandle,
}

impl Program {
    /// Whether frames that the program sends back leave: not from a veth device whose peer
    /// takes none from programs, which has no NAPI then.
    pub fn can_answer(&self) -> bool {
        if !self.is_native_veth() {
            return true;
        }
        // Before Linux 6.3 nothing says so, and before 6.7 not always rightly.
        sys::query(self.ifindex).is_ok_and(|found| found.feature_flags & TAKES_FRAMES != 0)
    }

    fn is_native_veth(&self) -> bool {
        self.driver == "veth" && self.mode == Some(AttachMode::Native)
    }

    /// Whether frames may come with checksums that a kernel has put off.
    pub fn meets_partial_checksums(&self) -> bool {
        self.driver == "veth" || self.mode == Some(AttachMode::Generic)
    }

    /// Tells the program the keys of its cookies.
    pub fn set_cookie_secrets(&self, secrets: &CookieSecrets) -> Result<(), XdpError> {
        self.cookies
            .secrets
            .update(&KEY, &secret_octets(secrets), MapFlags::ANY)
            .map_err(map_error(|| "change the keys of SYN cookies".to_owned()))
    }

    /// Answers SYNs to a service with cookies, from the next one on. Whoever calls it has seen to it
    /// that user space expects their acknowledgments.
    pub fn send_cookies(
        &self,
        address: Address,
        port: u16,
        terms: &CookieTerms,
    ) -> Result<(), XdpError> {
        let action = || format!("send SYN cookies for port {port} of {address}");
        let key = service_key(address, port);
        let mut value = octets(terms);
        if self.meets_partial_checksums() {
            value[OFFERS] |= PARTIAL_CHECKSUMS;
        }
        if self.is_native_veth() {
            value[OFFERS] |= BY_REDIRECT;
        }
        self.cookies
            .cookies
            .update(&key, &value, MapFlags::ANY)
            .map_err(map_error(action))?;
        // Only of a service that is still there.
        let flags = (SERVED | SENDS_COOKIES).to_ne_bytes();
        self.services
            .update(&key, &flags, MapFlags::EXIST)
            .map_err(map_error(action))
    }

    /// Gives the SYNs of a service to user space again; without effect if they go there.
    pub fn stop_cookies(&self, address: Address, port: u16) -> Result<(), XdpError> {
        let action = || format!("stop to send SYN cookies for port {port} of {address}");
        let key = service_key(address, port);
        match self
            .services
            .update(&key, &SERVED.to_ne_bytes(), MapFlags::EXIST)
        {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                return Err(map_error(action)(error));
            }
            _ => {}
        }
        delete(&self.cookies.cookies, &key).map_err(map_error(action))
    }

    /// How many cookies were sent for a service since [`send_cookies`](Self::send_cookies) was last
    /// called for it.
    pub fn cookies_sent(&self, address: Address, port: u16) -> Result<u64, XdpError> {
        let value = self
            .cookies
            .cookies
            .lookup(&service_key(address, port), MapFlags::ANY)
            .map_err(map_error(|| "count SYN cookies".to_owned()))?
            .unwrap_or_default();
        Ok(value
            .first_chunk()
            .map_or(0, |sent| u64::from_ne_bytes(*sent)))
    }

    /// What the program makes of a SYN (BPF_PROG_TEST_RUN), if it answers it: the frame that goes back.
    pub fn answer(&self, frame: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        let mut answer = vec![0; frame.len() + 256];
        let (verdict, len) = sys::test_run_into(self.as_fd(), frame, &mut answer)?;
        answer.truncate(len);
        Ok((verdict == sys::XDP_TX).then_some(answer))
    }
}

/// `struct corelane_cookie`, but for what the device asks for.
fn octets(terms: &CookieTerms) -> [u8; size_of::<corelane_cookie>()] {
    let offers = [
        (terms.window_scale.is_some(), SCALE),
        (terms.sack, SACK),
        (terms.timestamps, TIMESTAMPS),
        (terms.ecn, ECN),
    ];
    let offers = offers.map(|(offered, bit)| if offered { bit } else { 0 });
    let mut octets = [0; size_of::<corelane_cookie>()];
    octets[8..10].copy_from_slice(&terms.mss.to_ne_bytes());
    octets[10..12].copy_from_slice(&terms.window.to_ne_bytes());
    octets[12] = terms.window_scale.unwrap_or(0);
    octets[OFFERS] = offers.into_iter().fold(0, |all, bit| all | bit);
    octets[14] = terms.traffic_class;
    octets[15] = terms.hop_limit;
    octets
}

/// `struct corelane_secrets`.
fn secret_octets(secrets: &CookieSecrets) -> [u8; size_of::<corelane_secrets>()] {
    let mut octets = [0; size_of::<corelane_secrets>()];
    for &(epoch, key) in &secrets.keys {
        // Each at its place: even or odd.
        let at = (epoch % 2) as usize * 24;
        for (word, at) in [epoch, key[0], key[1]].into_iter().zip((at..).step_by(8)) {
            octets[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
    }
    let at = offset_of!(corelane_secrets, timestamp_key);
    for (word, at) in secrets.timestamp_key.into_iter().zip((at..).step_by(8)) {
        octets[at..at + 8].copy_from_slice(&word.to_ne_bytes());
    }
    for (at, sizes) in [
        (offset_of!(corelane_secrets, mss_ipv4), &secrets.mss_ipv4),
        (offset_of!(corelane_secrets, mss_ipv6), &secrets.mss_ipv6),
    ] {
        for (size, at) in sizes.iter().zip((at..).step_by(2)) {
            octets[at..at + 2].copy_from_slice(&size.to_ne_bytes());
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::COOKIE_SIZES;

    #[test]
    fn terms_are_laid_out_as_the_program_reads_them() {
        assert_eq!(offset_of!(corelane_cookie, mss), 8);
        assert_eq!(offset_of!(corelane_cookie, window), 10);
        assert_eq!(offset_of!(corelane_cookie, window_shift), 12);
        assert_eq!(offset_of!(corelane_cookie, offers), 13);
        assert_eq!(offset_of!(corelane_cookie, traffic_class), 14);
        assert_eq!(offset_of!(corelane_cookie, hop_limit), 15);
        assert_eq!(size_of::<corelane_cookie>(), 16);
    }

    #[test]
    fn keys_are_where_their_epochs_are() {
        assert_eq!(offset_of!(corelane_secrets, keys), 0);
        assert_eq!(offset_of!(corelane_secrets, timestamp_key), 48);
        let secrets = CookieSecrets {
            keys: [(7, [1, 2]), (8, [3, 4])],
            timestamp_key: [5, 6],
            mss_ipv4: [9; COOKIE_SIZES],
            mss_ipv6: [10; COOKIE_SIZES],
        };
        let octets = secret_octets(&secrets);
        let words: Vec<u64> = octets[..64]
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_ne_bytes(*word))
            .collect();
        assert_eq!(words, [8, 3, 4, 7, 1, 2, 5, 6]);
        assert_eq!(octets[64..66], 9_u16.to_ne_bytes());
        assert_eq!(octets[80..82], 10_u16.to_ne_bytes());
        assert_eq!(octets.len(), 96);
    }
}
