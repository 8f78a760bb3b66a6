//! The deny list in the program.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::error::{XdpError, map_error};
use super::prefix::Prefix;
use super::program::Program;
use super::settings::Setting;

/// The two tries, and how many prefixes each may have.
#[derive(Debug)]
pub(super) struct DenyMaps {
    pub(super) ipv4: MapHandle,
    pub(super) ipv6: MapHandle,
    pub(super) limit: u32,
}

impl DenyMaps {
    fn of(&self, prefix: Prefix) -> &MapHandle {
        match prefix.net() {
            IpNet::V4(_) => &self.ipv4,
            IpNet::V6(_) => &self.ipv6,
        }
    }
}

impl Program {
    /// Drops what is ours and comes from these prefixes, from the next frame on. All of them are
    /// added, or none.
    ///
    /// # Errors
    ///
    /// One is there already, or there is no room.
    pub fn deny(&self, prefixes: &BTreeSet<Prefix>) -> Result<(), XdpError> {
        for &prefix in prefixes {
            if self.frames_denied(prefix)?.is_some() {
                return Err(XdpError::AlreadyDenied(prefix));
            }
        }
        for (done, &prefix) in prefixes.iter().enumerate() {
            if let Err(error) = self.add_denied(prefix) {
                for &added in prefixes.iter().take(done) {
                    delete(self.denied.of(added), added)?;
                }
                return Err(error);
            }
        }
        self.note_denied()
    }

    /// Takes these prefixes off the deny list, with their counts: all of them, or none.
    ///
    /// # Errors
    ///
    /// One is not there.
    pub fn undeny(&self, prefixes: &BTreeSet<Prefix>) -> Result<(), XdpError> {
        for &prefix in prefixes {
            if self.frames_denied(prefix)?.is_none() {
                return Err(XdpError::NotDenied(prefix));
            }
        }
        for &prefix in prefixes {
            delete(self.denied.of(prefix), prefix)?;
        }
        self.note_denied()
    }

    /// The deny list in order, each prefix with the frames that it has dropped. A frame counts for
    /// the longest of the prefixes that it comes from.
    pub fn denied(&self) -> Result<Vec<(Prefix, u64)>, XdpError> {
        let ipv4 = self.denied.ipv4.keys().map(|key| ipv4_prefix(&key));
        let ipv6 = self.denied.ipv6.keys().map(|key| ipv6_prefix(&key));
        let mut prefixes: Vec<Prefix> = ipv4.chain(ipv6).flatten().collect();
        prefixes.sort_unstable();
        let mut all = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            // Nobody takes one away meanwhile: one thread changes the list.
            if let Some(frames) = self.frames_denied(prefix)? {
                all.push((prefix, frames));
            }
        }
        Ok(all)
    }

    /// The frames that a prefix has dropped, if it is in the list: it is only if the longest match
    /// of its first address, no longer than itself, is itself.
    fn frames_denied(&self, prefix: Prefix) -> Result<Option<u64>, XdpError> {
        let value = self
            .denied
            .of(prefix)
            .lookup(&key(prefix), MapFlags::ANY)
            .map_err(map_error(|| format!("look {prefix} up in the deny list")))?;
        Ok(value.and_then(|value| {
            let (frames, rest) = value.split_first_chunk()?;
            let length = u32::from_ne_bytes(*rest.first_chunk()?);
            let is_itself = length == u32::from(prefix.net().prefix_len());
            is_itself.then(|| u64::from_ne_bytes(*frames))
        }))
    }

    fn add_denied(&self, prefix: Prefix) -> Result<(), XdpError> {
        let mut value = [0; 16];
        let length = u32::from(prefix.net().prefix_len());
        value[8..12].copy_from_slice(&length.to_ne_bytes());
        let map = self.denied.of(prefix);
        match map.update(&key(prefix), &value, MapFlags::ANY) {
            // The kernel says ENOSPC, which libbpf-rs has no kind for.
            Err(_) if map.keys().count() >= self.denied.limit as usize => {
                Err(XdpError::DenyListFull {
                    prefix,
                    limit: self.denied.limit,
                })
            }
            outcome => outcome.map_err(map_error(|| format!("deny {prefix}"))),
        }
    }

    /// Tells the program which of the tries are worth a look-up.
    fn note_denied(&self) -> Result<(), XdpError> {
        let any = |map: &MapHandle| u8::from(map.keys().next().is_some());
        self.set(
            Setting::Denies,
            &[any(&self.denied.ipv4), any(&self.denied.ipv6)],
        )
    }
}

fn delete(map: &MapHandle, prefix: Prefix) -> Result<(), XdpError> {
    map.delete(&key(prefix))
        .map_err(map_error(|| format!("take {prefix} off the deny list")))
}

/// `struct corelane_ipv4_prefix` or `struct corelane_ipv6_prefix`.
fn key(prefix: Prefix) -> Vec<u8> {
    let mut key = u32::from(prefix.net().prefix_len()).to_ne_bytes().to_vec();
    match prefix.net() {
        IpNet::V4(net) => key.extend(net.addr().octets()),
        IpNet::V6(net) => key.extend(net.addr().octets()),
    }
    key
}

fn ipv4_prefix(key: &[u8]) -> Option<Prefix> {
    let (length, address) = key.split_first_chunk()?;
    let address = <[u8; 4]>::try_from(address).ok()?;
    let length = u8::try_from(u32::from_ne_bytes(*length)).ok()?;
    let net = Ipv4Net::new(address.into(), length).ok()?;
    Some(Prefix::of(net.into()))
}

fn ipv6_prefix(key: &[u8]) -> Option<Prefix> {
    let (length, address) = key.split_first_chunk()?;
    let address = <[u8; 16]>::try_from(address).ok()?;
    let length = u8::try_from(u32::from_ne_bytes(*length)).ok()?;
    let net = Ipv6Net::new(address.into(), length).ok()?;
    Some(Prefix::of(net.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in ["0.0.0.0/0", "198.18.0.0/15", "198.18.0.1/32"] {
            let prefix = text.parse().unwrap();
            assert_eq!(ipv4_prefix(&key(prefix)), Some(prefix));
        }
        for text in ["::/0", "fd00::/8", "fd00::1/128"] {
            let prefix = text.parse().unwrap();
            assert_eq!(ipv6_prefix(&key(prefix)), Some(prefix));
        }
    }
}
