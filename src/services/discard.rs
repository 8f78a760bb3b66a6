//! Discard (RFC 863).

use crate::stack::{Service, Socket};

/// Throws away what it receives and closes when the peer does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Service for Discard {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }
}
