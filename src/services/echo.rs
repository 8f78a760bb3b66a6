//! Echo (RFC 862).

use super::output::Output;
use crate::stack::{Service, Socket};

/// Sends back what it receives, and its FIN after all of it.
///
/// Keeps nothing: what cannot be sent is not consumed, so a peer that does not read closes its own
/// window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    type Connection = ();

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        socket.set_nodelay(true);
    }

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        echo(socket, data)
    }
}

fn echo(output: &mut impl Output, data: &[u8]) -> usize {
    output.send(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::output::Pipe;

    #[test]
    fn what_does_not_fit_is_not_consumed() {
        let mut pipe = Pipe::new(3, 2);
        assert_eq!(echo(&mut pipe, b"abcdef"), 3);
        assert_eq!(echo(&mut pipe, b"def"), 0);
        pipe.room = 100;
        assert_eq!(echo(&mut pipe, b"def"), 3);
        assert_eq!(pipe.sent, b"abcdef");
    }
}
