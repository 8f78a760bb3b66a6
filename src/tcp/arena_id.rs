//! Names of what a connection has in an arena of its core. Four octets, also as an `Option`, since
//! every connection has room for all of them and most have none.

/// Declares the name of a place in an arena.
macro_rules! arena_id {
    ($(#[$meta:meta])* $vis:vis $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis struct $name(std::num::NonZeroU32);

        impl $name {
            /// Arenas have no more places than there are connections and listeners, which are
            /// numbered by u32.
            fn new(index: usize) -> Self {
                Self(std::num::NonZeroU32::MIN.saturating_add(index as u32))
            }

            fn index(self) -> usize {
                self.0.get() as usize - 1
            }
        }
    };
}

pub(super) use arena_id;
