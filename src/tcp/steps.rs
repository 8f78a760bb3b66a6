//! Counts the steps of what must not take more of them than what it is for allows, in tests: time
//! would say it only roughly. Elsewhere nothing is counted.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One more.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// Those of this thread since the last look.
#[cfg(test)]
pub(super) fn taken() -> u64 {
    STEPS.take()
}
