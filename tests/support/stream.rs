//! Byte streams whose every octet is known, so that a transfer proves itself.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::Namespace;

/// No read or write of a test waits longer than this.
const STALL_LIMIT: Duration = Duration::from_secs(60);

const CHUNK: usize = 64 << 10;

/// Connects from inside `namespace`; reads and writes that stall for long fail.
pub(crate) fn connect(namespace: &Namespace, address: &str, port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::new(address.parse().expect("a literal address"), port);
    namespace.run(|| {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(STALL_LIMIT))?;
        stream.set_write_timeout(Some(STALL_LIMIT))?;
        Ok(stream)
    })
}

/// Sends `length` known octets and the end of the stream.
pub(crate) fn send(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < length {
        let part = buffer.len().min((length - offset) as usize);
        fill(&mut buffer[..part], offset);
        stream.write_all(&buffer[..part])?;
        offset += part as u64;
    }
    stream.shutdown(Shutdown::Write)
}

/// Receives until the end of the stream, which must be `length` octets, each as sent.
pub(crate) fn receive(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut expected = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let part = stream.read(&mut buffer)?;
        if part == 0 {
            break;
        }
        fill(&mut expected[..part], offset);
        if let Some(at) = (0..part).find(|&at| buffer[at] != expected[at]) {
            return Err(io::Error::other(format!(
                "octet {} differs",
                offset + at as u64
            )));
        }
        offset += part as u64;
    }
    if offset != length {
        return Err(io::Error::other(format!(
            "{offset} octets instead of {length}"
        )));
    }
    Ok(())
}

/// Sends and receives `length` octets at the same time through a server that echoes.
pub(crate) fn echo(stream: &TcpStream, length: u64) -> io::Result<()> {
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(stream, length));
        let received = receive(stream, length);
        if received.is_err() {
            // Lets the sender fail too.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sender.join().expect("the sender does not panic");
        received.and(sent)
    })
}

/// The octets of the known stream from `offset` on. Each eight are a hash of their position
/// (SplitMix64's finalizer), so that nothing lost, doubled or moved goes unseen.
fn fill(buffer: &mut [u8], offset: u64) {
    let mut at = 0;
    while at < buffer.len() {
        let position = offset + at as u64;
        let mut z = (position / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = (z ^ (z >> 31)).to_le_bytes();
        let skip = (position % 8) as usize;
        let part = (8 - skip).min(buffer.len() - at);
        buffer[at..at + part].copy_from_slice(&word[skip..skip + part]);
        at += part;
    }
}
