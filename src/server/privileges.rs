//! What the server gives up once it is set up: root, capabilities, and the way back to them.
//!
//! A thread has its own user, groups and capabilities, and hands them on to those that it starts.
//! So this happens after everything that needs privileges (device, program, sockets, ports) and
//! before the first thread of ours. What would need them again later (a device that comes back, a
//! queue more, another program) is not done: the server ends and says so.

use std::fs;
use std::io;

use nix::unistd::{Group, User as Entry};
use rustix::process::{
    DumpableBehavior, parent_process_death_signal, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::ServeError;
use crate::config::{Privileges, User};

/// Who root becomes if nobody says.
const NOBODY: &str = "nobody";

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// The name, or the number of a user without one.
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What is to be given up.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Who to become; `None`: who we are.
    pub(super) account: Option<Account>,
    /// What the user should know of it.
    pub(super) notice: Option<String>,
}

/// Looks up what `privileges` say; `None` if nothing is to be given up.
pub(super) fn plan(privileges: &Privileges) -> Result<Option<Plan>, ServeError> {
    let Privileges::Drop(user) = privileges else {
        return Ok(None);
    };
    let own = rustix::process::geteuid();
    // Root of a container may lack what it takes to be anybody else.
    let may_change = own.is_root() && may_change_user()?;
    let (account, notice) = match user {
        Some(user) => {
            let account = look_up(user)?;
            let own_gid = rustix::process::getegid().as_raw();
            let is_foreign = account.uid != own.as_raw() || own.is_root() && account.gid != own_gid;
            if is_foreign && !may_change {
                return Err(ServeError::CannotBecome(user.to_string()));
            }
            (may_change.then_some(account), None)
        }
        None if !own.is_root() => (None, None),
        None if !may_change => {
            let notice = format!(
                "without CAP_SETUID and CAP_SETGID root cannot become {NOBODY}, so this stays root's \
                 process, though without capabilities"
            );
            (None, Some(notice))
        }
        None => match Entry::from_name(NOBODY) {
            Ok(Some(entry)) => {
                let notice = format!(
                    "root is needed no more: now user {NOBODY} (uid {}), --user names another",
                    entry.uid
                );
                (Some(Account::from(entry)), Some(notice))
            }
            Ok(None) | Err(_) => {
                let notice = format!(
                    "there is no user {NOBODY} here, so this stays root's process, though without \
                     capabilities: name a user with --user"
                );
                (None, Some(notice))
            }
        },
    };
    Ok(Some(Plan { account, notice }))
}

fn may_change_user() -> Result<bool, ServeError> {
    let sets = capabilities(None).map_err(|errno| ServeError::GiveUp(errno.into()))?;
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    Ok(sets.effective.contains(needed))
}

impl From<Entry> for Account {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            uid: entry.uid.as_raw(),
            gid: entry.gid.as_raw(),
        }
    }
}

/// The name of the user that we are, or its number.
pub(super) fn own_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let entry = Entry::from_uid(uid.into()).ok().flatten();
    entry.map_or_else(|| uid.to_string(), |entry| entry.name)
}

fn look_up(user: &User) -> Result<Account, ServeError> {
    let unknown = || ServeError::NoSuchUser(user.to_string());
    let by_number = user.user().parse::<u32>().ok();
    let entry = match by_number {
        Some(uid) => Entry::from_uid(uid.into()),
        None => Entry::from_name(user.user()),
    };
    let known = entry.ok().flatten().map(Account::from);
    let group = match user.group() {
        None => None,
        Some(group) => Some(match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let entry = Group::from_name(group).ok().flatten();
                entry.ok_or_else(unknown)?.gid.as_raw()
            }
        }),
    };
    let mut account = match (known, by_number, group) {
        (Some(account), ..) => account,
        // A number needs no name, but a group.
        (None, Some(uid), Some(gid)) => Account {
            name: uid.to_string(),
            uid,
            gid,
        },
        (None, ..) => return Err(unknown()),
    };
    account.gid = group.unwrap_or(account.gid);
    Ok(account)
}

/// Becomes `account`, and keeps no capability but those in `keep`: not in the bounding set, so that
/// not even root's programs could get one back. Nor can a program that is executed (no_new_privs),
/// and nobody but root may look into the process any more.
pub(super) fn give_up(account: Option<&Account>, keep: CapabilitySet) -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "other threads of this process would keep them",
        ));
    }
    if capabilities(None)?
        .effective
        .contains(CapabilitySet::SETPCAP)
    {
        empty_bounding_set()?;
    }
    // Whoever asked to have us end with them still wants it; a change of the user takes it back.
    let parting = parent_process_death_signal()?;
    if let Some(account) = account {
        // Groups first: only root may.
        set_thread_groups(&[])?;
        let gid = Gid::from_raw(account.gid);
        set_thread_res_gid(gid, gid, gid)?;
        set_keep_capabilities(!keep.is_empty())?;
        let uid = Uid::from_raw(account.uid);
        set_thread_res_uid(uid, uid, uid)?;
    }
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    clear_ambient_capability_set()?;
    set_capabilities(None, sets)?;
    set_parent_process_death_signal(parting)?;
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn empty_bounding_set() -> io::Result<()> {
    // The kernel says where its capabilities end, which may be behind those known here.
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Account, ServeError> {
        look_up(&text.parse().unwrap())
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = Account {
            name: "root".to_owned(),
            uid: 0,
            gid: 0,
        };
        assert_eq!(found("root").unwrap(), root);
        assert_eq!(found("0").unwrap(), root);
        let other_group = Account { gid: 7, ..root };
        assert_eq!(found("root:7").unwrap(), other_group);
        let nameless = found("3999999999:3999999998").unwrap();
        assert_eq!(
            (&*nameless.name, nameless.uid, nameless.gid),
            ("3999999999", 3_999_999_999, 3_999_999_998)
        );
        for text in ["no-such-user-here", "3999999999", "root:no-such-group-here"] {
            let message = found(text).unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
        }
    }

    #[test]
    fn who_keeps_privileges_plans_nothing() {
        assert!(plan(&Privileges::Keep).unwrap().is_none());
    }
}
