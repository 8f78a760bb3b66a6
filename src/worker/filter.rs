//! The system calls that a thread may make.

use std::sync::Arc;

use seccompiler::{BpfProgram, apply_filter};

/// seccomp filters of one kind of thread.
#[derive(Clone, Debug)]
pub struct Filter(Arc<[BpfProgram]>);

impl Filter {
    /// All of `programs`, in this order; the strictest decides.
    pub fn new(programs: impl IntoIterator<Item = BpfProgram>) -> Self {
        Self(programs.into_iter().collect())
    }

    /// Binds the calling thread, and those that it starts, for good. Its privileges cannot grow any
    /// more either (PR_SET_NO_NEW_PRIVS).
    ///
    /// # Errors
    ///
    /// The kernel has no seccomp.
    pub fn apply(&self) -> Result<(), seccompiler::Error> {
        self.0.iter().try_for_each(|program| apply_filter(program))
    }
}
