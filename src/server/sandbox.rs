//! Which system calls each kind of thread makes (seccomp). Another one ends the process, which says
//! the call's number first.
//!
//! The lists are what strace shows of start, load, `ss`, `stats`, drain, panics and end, and what
//! the same code does on other C libraries and clocks. What is deliberately not there: new threads
//! and programs, new sockets but for netlink, memory that can be executed, files.

use std::collections::BTreeMap;
use std::env;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::error::STATUS_MISTAKE;
use super::{Running, ServeError};
use crate::worker::Filter;
use crate::xdp::report_forbidden_calls;

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Starts, watches, stops.
    Main,
    /// Turns a stack.
    Worker,
    /// Answers on the control socket.
    Control,
    /// Finds ways for active opens.
    Opener,
}

/// What every thread may do: memory, time, locks, sleep, its own end, and write to what is open.
const COMMON: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Looking for files: what allocators and backtraces do when they find some, and do without when
/// not. Refused by an error number.
const FILES: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

const CONTROL: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Asking by rtnetlink, and waiting for the helper that undoes things.
const MAIN: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_unlinkat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

const OPENER: &[c_long] = &[libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_sendto];

/// Commands of bpf(2) (linux/bpf.h) that read and change maps that are open, and detach.
const BPF_COMMANDS: [u64; 9] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    24, // BPF_MAP_LOOKUP_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    27, // BPF_MAP_DELETE_BATCH
    34, // BPF_LINK_DETACH
];

/// linux/sockios.h: facts of an interface, and ethtool.
const DEVICE_IOCTLS: [u64; 4] = [0x8913, 0x8921, 0x8927, 0x8946];

/// asm-generic/ioctls.h: FIONBIO.
const CLIENT_IOCTLS: [u64; 1] = [0x5421];

/// linux/prctl.h: PR_SET_NAME, PR_GET_NAME, and PR_SET_VMA, by which allocators name their memory.
const PRCTLS: [u64; 3] = [15, 16, 0x5356_4d41];

/// Sees to what must be before any filter is. Returns whether threads are to be confined: if that is
/// wanted and possible.
pub(super) fn prepare(running: &mut Running, wanted: bool) -> Result<bool, ServeError> {
    if wanted && architecture().is_err() {
        running.notices.push(format!(
            "no sandbox: the system calls of {} are not known to it",
            env::consts::ARCH
        ));
        return Ok(false);
    }
    if wanted {
        report_forbidden_calls::<STATUS_MISTAKE>()
            .map_err(|error| ServeError::Sandbox(error.to_string()))?;
        // libbpf reads the number of CPUs from a file, once.
        running.program.counters().map_err(ServeError::Xdp)?;
    }
    Ok(wanted)
}

/// The filters of a thread, if threads are confined.
pub(super) fn filter(confined: bool, kind: Kind) -> Result<Option<Filter>, ServeError> {
    let filter = confined.then(|| compile(kind, wants_backtraces()));
    filter
        .transpose()
        .map_err(|error| ServeError::Sandbox(error.to_string()))
}

/// Their names come from files.
fn wants_backtraces() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| value != "0");
    is_set("RUST_BACKTRACE") || is_set("RUST_LIB_BACKTRACE")
}

fn architecture() -> Result<TargetArch, BackendError> {
    TargetArch::try_from(env::consts::ARCH)
}

fn compile(kind: Kind, with_files: bool) -> Result<Filter, BackendError> {
    let mut rules = Rules::default();
    rules.calls(COMMON);
    // Without PROT_EXEC.
    let not_executable = (2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    let not_executable = std::slice::from_ref(&not_executable);
    rules.call_if(libc::SYS_mmap, not_executable)?;
    rules.call_if(libc::SYS_mprotect, not_executable)?;
    rules.call_if_one_of(libc::SYS_prctl, 0, &PRCTLS)?;
    // abort() signals its own thread.
    let own = u64::from(std::process::id());
    rules.call_if_one_of(libc::SYS_tgkill, 0, &[own])?;
    rules.calls(FILES);
    // To read, and not to create: O_TMPFILE needs write access too.
    let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;
    let reading = |argument| (argument, SeccompCmpOp::MaskedEq(writing), 0);
    rules.call_if(libc::SYS_openat, &[reading(2)])?;
    #[cfg(target_arch = "x86_64")]
    rules.call_if(libc::SYS_open, &[reading(1)])?;
    match kind {
        Kind::Worker => {}
        Kind::Control => {
            rules.calls(CONTROL);
            rules.call_if_one_of(libc::SYS_bpf, 0, &BPF_COMMANDS)?;
            rules.call_if_one_of(libc::SYS_ioctl, 1, &CLIENT_IOCTLS)?;
        }
        Kind::Main => {
            rules.calls(MAIN);
            rules.call_if_one_of(libc::SYS_bpf, 0, &BPF_COMMANDS)?;
            rules.call_if_one_of(libc::SYS_ioctl, 1, &DEVICE_IOCTLS)?;
            rules.call_if_one_of(libc::SYS_socket, 0, &[libc::AF_NETLINK as u64])?;
        }
        Kind::Opener => rules.calls(OPENER),
    }
    if matches!(kind, Kind::Worker | Kind::Control) {
        // To where the socket is bound or connected: XSKs, the pipe of signals, clients.
        rules.call_if(libc::SYS_sendto, &[(4, SeccompCmpOp::Eq, 0)])?;
    }
    let mut programs = Vec::new();
    if !with_files {
        let mut refused = Rules::default();
        refused.calls(FILES);
        refused.calls(&[libc::SYS_openat]);
        #[cfg(target_arch = "x86_64")]
        refused.calls(&[libc::SYS_open]);
        programs.push(refused.but(SeccompAction::Errno(libc::EACCES as u32))?);
    }
    // Last: behind it no filter can be added.
    programs.push(rules.only(SeccompAction::Trap)?);
    Ok(Filter::new(programs))
}

/// An argument's number, and what it must be.
type Condition = (u8, SeccompCmpOp, u64);

#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>);

impl Rules {
    /// Whatever their arguments.
    fn calls(&mut self, calls: &[c_long]) {
        self.0.extend(calls.iter().map(|&call| (call, Vec::new())));
    }

    /// A call for which all `conditions` hold; a second time, or those.
    fn call_if(&mut self, call: c_long, conditions: &[Condition]) -> Result<(), BackendError> {
        let conditions = conditions.iter().map(|(argument, operator, value)| {
            // Pointers have 64 bits, all else here 32.
            let length = match call == libc::SYS_sendto {
                true => SeccompCmpArgLen::Qword,
                false => SeccompCmpArgLen::Dword,
            };
            SeccompCondition::new(*argument, length, operator.clone(), *value)
        });
        let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
        self.0.entry(call).or_default().push(rule);
        Ok(())
    }

    fn call_if_one_of(
        &mut self,
        call: c_long,
        argument: u8,
        values: &[u64],
    ) -> Result<(), BackendError> {
        values
            .iter()
            .try_for_each(|&value| self.call_if(call, &[(argument, SeccompCmpOp::Eq, value)]))
    }

    /// These are allowed; for others, `action`.
    fn only(self, action: SeccompAction) -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(self.0, action, SeccompAction::Allow, architecture()?)?.try_into()
    }

    /// These get `action`; others are allowed.
    fn but(self, action: SeccompAction) -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(self.0, SeccompAction::Allow, action, architecture()?)?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};
    use std::thread;

    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    const KINDS: [Kind; 4] = [Kind::Main, Kind::Worker, Kind::Control, Kind::Opener];

    /// What a test is to do in a process of its own: filters stay, and may end it.
    const PART: &str = "CORELANE_SANDBOX_TEST";

    fn part() -> Option<String> {
        env::var(PART).ok()
    }

    /// Runs a part of a test of this file in a process of its own.
    fn child(test: &str, part: &str) -> Output {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("server::sandbox::tests::{test}")])
            .args(["--nocapture", "--test-threads=1"])
            .env(PART, part)
            .output()
            .unwrap()
    }

    #[test]
    fn a_forbidden_call_ends_the_process_and_is_named() {
        if part().is_some() {
            return make_a_socket();
        }
        let output = child("a_forbidden_call_ends_the_process_and_is_named", "socket");
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = format!("corelane: system call {} is forbidden", libc::SYS_socket);
        assert!(said.contains(&expected), "{output:?}");
        assert_eq!(output.status.code(), Some(i32::from(STATUS_MISTAKE)));
    }

    fn make_a_socket() {
        report_forbidden_calls::<STATUS_MISTAKE>().unwrap();
        compile(Kind::Worker, false).unwrap().apply().unwrap();
        let _ = socket(AddressFamily::INET, SocketType::STREAM, None);
    }

    #[test]
    fn threads_live_panic_and_end_in_every_filter() {
        if let Some(part) = part() {
            return live(part == "with files");
        }
        // Apart: what a backtrace finds once is remembered.
        for part in ["without files", "with files"] {
            let output = child("threads_live_panic_and_end_in_every_filter", part);
            assert!(output.status.success(), "{output:?}");
        }
    }

    fn live(with_files: bool) {
        report_forbidden_calls::<STATUS_MISTAKE>().unwrap();
        for kind in KINDS {
            let thread = thread::spawn(move || {
                compile(kind, with_files).unwrap().apply().unwrap();
                // Files can be read at most.
                assert_eq!(std::fs::read("/proc/self/maps").is_ok(), with_files);
                let buffers: Vec<_> = (0..64).map(|i| vec![1_u8; 1 << (i % 22)]).collect();
                assert_eq!(buffers.len(), 64);
                thread::yield_now();
                let backtrace = std::backtrace::Backtrace::force_capture().to_string();
                let is_named = backtrace.contains("sandbox::tests");
                assert_eq!(is_named, with_files, "{backtrace}");
                assert!(std::panic::catch_unwind(|| panic!("as services do")).is_err());
            });
            thread.join().unwrap();
        }
    }
}
