//! What the program is told by its settings.

use std::mem::offset_of;

use libbpf_rs::{MapCore as _, MapFlags};

use super::error::{XdpError, map_error};
use super::program::Program;
use super::program::skeleton::types::corelane_settings;

/// The only key of an array of one.
const KEY: [u8; 4] = [0; 4];

/// A part of `struct corelane_settings`: where it begins.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(super) enum Setting {
    /// The interface's Ethernet address.
    Mac = offset_of!(corelane_settings, mac),
    /// Whether there are denied prefixes: of IPv4, of IPv6.
    Denies = offset_of!(corelane_settings, denies_ipv4),
    /// The limit on SYNs: interval, span, both masks.
    SynLimit = offset_of!(corelane_settings, syn_interval),
}

impl Program {
    /// Changes a part of the settings. One thread does so at a time.
    pub(super) fn set(&self, part: Setting, octets: &[u8]) -> Result<(), XdpError> {
        let action = || "change the settings".to_owned();
        let value = self.settings.lookup(&KEY, MapFlags::ANY);
        let mut value = value.map_err(map_error(action))?.unwrap_or_default();
        value.resize(size_of::<corelane_settings>(), 0);
        let at = part as usize;
        value[at..at + octets.len()].copy_from_slice(octets);
        self.settings
            .update(&KEY, &value, MapFlags::ANY)
            .map_err(map_error(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_laid_out_as_the_program_reads_them() {
        assert_eq!(Setting::Mac as usize, 0);
        assert_eq!(Setting::Denies as usize, 6);
        assert_eq!(offset_of!(corelane_settings, denies_ipv6), 7);
        assert_eq!(Setting::SynLimit as usize, 8);
        assert_eq!(offset_of!(corelane_settings, syn_span), 16);
        assert_eq!(offset_of!(corelane_settings, ipv4_mask), 24);
        assert_eq!(offset_of!(corelane_settings, ipv6_mask), 40);
        assert_eq!(size_of::<corelane_settings>(), 56);
    }
}
