//! What is said when a thread makes a system call that its filter forbids.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;

/// The beginning of `siginfo_t` for SIGSYS (asm-generic/siginfo.h); libc does not name the fields.
/// Alike on all 64-bit architectures.
#[repr(C)]
struct Sigsys {
    signo: c_int,
    errno: c_int,
    code: c_int,
    _padding: c_int,
    call_address: *const c_void,
    call: c_int,
    architecture: u32,
}

/// SYS_SECCOMP of asm-generic/siginfo.h.
const SYS_SECCOMP: c_int = 1;

const BEFORE: &[u8] = b"corelane: system call ";
const BEHIND: &[u8] =
    b" is forbidden to this thread by the sandbox: please report the number, and \
    use --no-sandbox until that is mended\n";

/// Has the process say on stderr which call was forbidden, and end with `STATUS`, instead of being
/// killed without a word.
///
/// # Errors
///
/// The kernel takes no handler for SIGSYS.
pub fn report_forbidden_calls<const STATUS: u8>() -> io::Result<()> {
    // SAFETY: sigaction is plain data for which all zeroes is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = report::<STATUS> as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the action lives for the call; its handler has the signature that SA_SIGINFO asks
    // for, and calls only what a signal handler may (signal-safety(7)).
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn report<const STATUS: u8>(
    _signal: c_int,
    info: *mut libc::siginfo_t,
    _context: *mut c_void,
) {
    // SAFETY: by SA_SIGINFO the kernel passes a siginfo_t, which is larger than `Sigsys` and as
    // aligned.
    let info = unsafe { info.cast::<Sigsys>().read() };
    // Someone may also send the signal by hand.
    if info.code == SYS_SECCOMP {
        let mut digits = [0; 10];
        for text in [
            BEFORE,
            decimal(info.call.unsigned_abs(), &mut digits),
            BEHIND,
        ] {
            // SAFETY: the octets are there. What cannot be said is not said.
            unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        }
    }
    // SAFETY: ends the process, and runs nothing of it any more.
    unsafe { libc::_exit(c_int::from(STATUS)) };
}

/// The digits of a number, without what a signal handler may not use.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 435, u32::MAX] {
            assert_eq!(decimal(number, &mut [0; 10]), number.to_string().as_bytes());
        }
    }
}
