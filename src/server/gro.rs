//! Receive offload, off while a server serves in generic mode.
//!
//! To switch it on again takes CAP_NET_ADMIN, which a server that has given its privileges up has
//! not. So a helper switches it off, with that one capability, and on again when its stdin ends,
//! however the server has ended.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::thread::CapabilitySet;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

use super::{ServeError, privileges};
use crate::config::Privileges;
use crate::time::{Clock, Duration};
use crate::worker::timespec;
use crate::xdp::{Device, DeviceError, GroOff};

/// The helper's command, and what it says when the offload is off.
pub(super) const COMMAND: &str = "keep-gro-off";
const SWITCHED: &str = "off";
const WAS_OFF: &str = "was off";

/// How long the helper may take to switch it on again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether it has.
const INTERVAL: Duration = Duration::from_millis(2);

/// Receive offload is off as long as this lives.
pub(super) enum Off {
    /// We switch it on again.
    Own { _guard: GroOff },
    /// The helper does.
    Helper(Child),
}

impl fmt::Debug for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own { .. } => "Own",
            Self::Helper(_) => "Helper",
        })
    }
}

/// Switches it off by ourselves; `None` if it was off.
pub(super) fn switch_off(device: &Device) -> Result<Option<Off>, DeviceError> {
    Ok(device
        .without_gro()?
        .map(|guard| Off::Own { _guard: guard }))
}

/// Has `binary` switch it off; `None` if it was off.
pub(super) fn have_switched_off(binary: &Path, device: &Device) -> io::Result<Option<Off>> {
    let mut child = Command::new(binary)
        .arg0("corelane")
        .args([COMMAND, device.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let out = child.stdout.take().map(BufReader::new);
    out.ok_or(io::ErrorKind::BrokenPipe)?.read_line(&mut said)?;
    // It ends when this goes out of scope.
    let helper = Off::Helper(child);
    match said.trim_end() {
        SWITCHED => Ok(Some(helper)),
        WAS_OFF => Ok(None),
        _ => Err(io::Error::other("its helper has failed")),
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        let Self::Helper(child) = self else {
            return;
        };
        drop(child.stdin.take());
        let clock = Clock::start();
        let deadline = clock.now() + PATIENCE;
        // One that hangs goes its own way.
        while matches!(child.try_wait(), Ok(None)) && clock.now() < deadline {
            let _ = rustix::thread::nanosleep(&timespec(INTERVAL));
        }
    }
}

/// What the helper does: switches receive offload of `interface` off, says so on stdout, and on
/// again when stdin ends. Signals do not end it, since they come to the server too.
///
/// # Errors
///
/// There is no such interface, or a privilege is missing.
pub fn keep_gro_off(interface: &str) -> Result<(), ServeError> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .map_err(ServeError::exhausted("descriptor for signals"))?;
    }
    let plan = privileges::plan(&Privileges::Drop(None))?;
    let account = plan.and_then(|plan| plan.account);
    privileges::give_up(account.as_ref(), CapabilitySet::NET_ADMIN).map_err(ServeError::GiveUp)?;
    let device = Device::open(interface).map_err(ServeError::Device)?;
    let guard = device.without_gro().map_err(ServeError::Device)?;
    let mut out = io::stdout();
    let said = match &guard {
        Some(_) => writeln!(out, "{SWITCHED}"),
        None => writeln!(out, "{WAS_OFF}"),
    };
    if said.is_ok() && guard.is_some() {
        // Whatever it says, its end is what counts.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    }
    drop(guard);
    Ok(())
}
