//! Saying `ready` to the service manager that has started us: sd_notify(3), systemd's `Type=notify`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where it listens: a path, or `@` and an abstract name.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager, if it wants to know when we are ready.
#[derive(Debug)]
pub struct Supervisor(Option<UnixDatagram>);

impl Supervisor {
    /// The one that the environment names. To be asked for before [`Server::start`](super::Server::start),
    /// since a confined thread makes no sockets.
    ///
    /// # Errors
    ///
    /// It is named, and not to be reached.
    pub fn from_env() -> io::Result<Self> {
        let name = env::var_os(VARIABLE).filter(|name| !name.is_empty());
        Ok(Self(name.as_deref().map(connect).transpose()?))
    }

    /// Tells it that we serve. Once is enough.
    ///
    /// # Errors
    ///
    /// It does not listen any more.
    pub fn ready(&self) -> io::Result<()> {
        if let Self(Some(socket)) = self {
            socket.send(b"READY=1")?;
        }
        Ok(())
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // One that does not read must not keep us from serving.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(address: &SocketAddr, name: &str) {
        let manager = UnixDatagram::bind_addr(address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let supervisor = Supervisor(Some(connect(OsStr::new(name)).unwrap()));
        supervisor.ready().unwrap();
        let mut said = [0; 64];
        let count = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..count], b"READY=1");
    }

    #[test]
    fn it_is_found_by_path_and_by_abstract_name() {
        let name = format!("corelane-notify-{}", std::process::id());
        let path = env::temp_dir().join(&name);
        hears(
            &SocketAddr::from_pathname(&path).unwrap(),
            path.to_str().unwrap(),
        );
        std::fs::remove_file(&path).unwrap();
        // Nobody is behind it any more.
        connect(path.as_os_str()).unwrap_err();
        hears(
            &SocketAddr::from_abstract_name(&name).unwrap(),
            &format!("@{name}"),
        );
    }

    #[test]
    fn without_one_nothing_is_said() {
        Supervisor(None).ready().unwrap();
    }
}
