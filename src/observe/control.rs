//! The control socket: where it is, who may use it, and how a client finds it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::protocol::{self, Reply, Request};

/// Where the sockets of all servers are: those of root here, those of servers that root has made
/// another user's in a directory of that user. Network namespaces share it.
pub const DIRECTORY: &str = "/run/corelane";

/// How long a client waits for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server's control socket. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes `directory/PID.sock`, which only its owner may use, and removes those of servers that
    /// are dead.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or written, or is neither ours nor root's, or a living server has a
    /// socket of this name.
    pub fn bind(directory: &Path, pid: u32) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let owner = fs::symlink_metadata(directory)?.uid();
        // Someone else could put a link in the place of the socket, whose mode is changed below.
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(foreign());
        }
        remove_stale(directory);
        let path = directory.join(format!("{pid}.sock"));
        if path.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another server has that socket",
            ));
        }
        // Under another name first: nobody meets it before its mode is right and it listens.
        let draft = directory.join(format!("{pid}.new"));
        let _ = fs::remove_file(&draft);
        let socket = UnixListener::bind(&draft)?;
        let listener = Self {
            socket,
            path: draft.clone(),
        };
        listener.socket.set_nonblocking(true)?;
        fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        fs::rename(&draft, &path)?;
        Ok(Self {
            socket: listener.into_socket()?,
            path,
        })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next client, if one waits and may speak to us: root or our own user. Whoever else comes
    /// is sent away.
    pub fn accept(&self) -> Option<UnixStream> {
        let (client, _) = self.socket.accept().ok()?;
        let user = socket_peercred(&client).ok()?.uid;
        if !user.is_root() && user != rustix::process::geteuid() {
            return None;
        }
        Some(client)
    }

    /// The socket without its file, which stays.
    fn into_socket(mut self) -> io::Result<UnixListener> {
        self.path = PathBuf::new();
        self.socket.try_clone()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory within `directory` that belongs to a user, for root, who is about to become
/// that user and could not remove a socket from `directory` any more.
///
/// # Errors
///
/// `directory` belongs to someone else, or what is there under the user's name does.
pub fn directory_of(directory: &Path, name: &str, uid: u32, gid: u32) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let own = rustix::process::geteuid().as_raw();
    // Someone else could put links there.
    if fs::symlink_metadata(directory)?.uid() != own {
        return Err(foreign());
    }
    remove_stale(directory);
    let path = directory.join(name);
    match DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&path)?;
    let owner = opened.metadata()?.uid();
    if owner != own && owner != uid {
        return Err(foreign());
    }
    fchown(&opened, Some(uid), Some(gid))?;
    Ok(path)
}

fn foreign() -> io::Error {
    io::Error::other("it, or what is in it, belongs to someone else")
}

/// Removes the sockets on which nobody listens any more.
fn remove_stale(directory: &Path) {
    for (_, path) in sockets(directory).unwrap_or_default() {
        if matches!(knock(&path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The control sockets in a directory, and in those of users within it, by their servers' pids.
fn sockets(directory: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = sockets_in(directory)?;
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            // One that may not be read is not for us.
            found.extend(sockets_in(&entry.path()).unwrap_or_default());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn sockets_in(directory: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let pid = name
            .strip_suffix(".sock")
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid {
            found.push((pid, path));
        }
    }
    Ok(found)
}

/// Which server to ask.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The only one that there is.
    Only,
    /// The one with this pid.
    Pid(u32),
    /// The one with this control socket.
    Path(&'a Path),
}

/// Asks a server whose socket is in `directory`, or where `target` says.
///
/// # Errors
///
/// There is no such server, several, or it does not answer.
pub fn ask(directory: &Path, target: Target<'_>, request: &Request) -> Result<Reply, AskError> {
    let (path, stream) = match target {
        Target::Only => only(directory)?,
        Target::Pid(pid) => {
            let mut known = sockets(directory).unwrap_or_default().into_iter();
            let path = known.find(|(other, _)| *other == pid);
            let (_, path) = path.ok_or(AskError::NoSuchPid(pid))?;
            let stream = connect(&path).map_err(|error| match error {
                AskError::NoServer(_) => AskError::NoSuchPid(pid),
                other => other,
            })?;
            (path, stream)
        }
        Target::Path(path) => (path.to_owned(), connect(path)?),
    };
    let exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        protocol::write_line(&stream, request)?;
        protocol::read_reply(&stream)
    };
    match exchange() {
        Ok(Reply::Error(error)) => Err(AskError::Refused(error)),
        Ok(reply) => Ok(reply),
        Err(source) => Err(AskError::NoAnswer { path, source }),
    }
}

/// The only server that listens.
fn only(directory: &Path) -> Result<(PathBuf, UnixStream), AskError> {
    let none = || AskError::NoServer(directory.to_owned());
    let mut found = Vec::new();
    for (pid, path) in sockets(directory).map_err(|_| none())? {
        match connect(&path) {
            Ok(stream) => found.push((pid, path, stream)),
            Err(AskError::NoServer(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if found.len() > 1 {
        let pids = found.iter().map(|(pid, ..)| pid.to_string());
        return Err(AskError::Several(pids.collect::<Vec<_>>().join(", ")));
    }
    let (_, path, stream) = found.pop().ok_or_else(none)?;
    Ok((path, stream))
}

fn connect(path: &Path) -> Result<UnixStream, AskError> {
    knock(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NoServer(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => AskError::NotPermitted(path.to_owned()),
        _ => AskError::NoAnswer {
            path: path.to_owned(),
            source,
        },
    })
}

/// Connects to a socket, or fails at once. [`UnixStream::connect`] would wait for a server that does
/// not take its clients in, for ever if it hangs.
fn knock(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Why a server was not asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AskError {
    #[error("no running server listens on {path}: start one with `corelane serve`", path = .0.display())]
    NoServer(PathBuf),
    #[error("no running server has the pid {0}")]
    NoSuchPid(u32),
    #[error("several servers run, with the pids {0}: say which with --pid or --control")]
    Several(String),
    #[error(
        "not allowed to use {path}: run as root or as the user whose server it is",
        path = .0.display()
    )]
    NotPermitted(PathBuf),
    #[error("the server behind {path} does not answer: {source}", path = path.display())]
    NoAnswer { path: PathBuf, source: io::Error },
    #[error("the server says: {0}")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::protocol::Show;
    use super::*;

    const SHOW: Request = Request::Show(Show::Connections);

    /// A directory of this test's own, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("corelane-control-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Answers each of `count` requests with an empty list.
    fn answer(listener: Listener, count: usize) -> thread::JoinHandle<Listener> {
        thread::spawn(move || {
            listener.socket.set_nonblocking(false).unwrap();
            let mut answered = 0;
            while answered < count {
                let client = listener.accept().unwrap();
                // `ask` connects to all sockets when it looks for the only one.
                if let Ok(request) = protocol::read_request(&client) {
                    assert_eq!(request, SHOW);
                    protocol::write_line(&client, &Reply::Connections(Vec::new())).unwrap();
                    answered += 1;
                }
            }
            listener
        })
    }

    fn files(directory: &Directory) -> Vec<String> {
        let entries = fs::read_dir(&directory.0).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_socket_is_private_and_goes_with_the_server() {
        let directory = Directory::new("private");
        let listener = Listener::bind(&directory.0, 4711).unwrap();
        assert_eq!(files(&directory), ["4711.sock"]);
        let mode = fs::metadata(listener.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        assert!(files(&directory).is_empty());
    }

    #[test]
    fn a_directory_of_someone_else_is_not_used() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can give a directory away");
            return;
        }
        let directory = Directory::new("foreign");
        fs::create_dir_all(&directory.0).unwrap();
        std::os::unix::fs::chown(&directory.0, Some(12_345), None).unwrap();
        let error = Listener::bind(&directory.0, 1).unwrap_err();
        assert!(error.to_string().contains("someone else"), "{error}");
        assert!(files(&directory).is_empty());
    }

    #[test]
    fn a_server_is_found_as_the_only_one_by_pid_and_by_path() {
        let directory = Directory::new("found");
        let listener = Listener::bind(&directory.0, 1).unwrap();
        let path = listener.path().to_owned();
        let server = answer(listener, 3);
        for target in [Target::Only, Target::Pid(1), Target::Path(&path)] {
            let reply = ask(&directory.0, target, &SHOW).unwrap();
            assert_eq!(reply, Reply::Connections(Vec::new()));
        }
        let _listener = server.join().unwrap();
        let _second = Listener::bind(&directory.0, 2).unwrap();
        let error = ask(&directory.0, Target::Only, &SHOW).unwrap_err();
        assert!(error.to_string().contains("1, 2"), "{error}");
    }

    /// Whoever hangs holds nobody up.
    #[test]
    fn a_server_that_takes_no_clients_in_is_left_alone() {
        let directory = Directory::new("hung");
        fs::create_dir_all(&directory.0).unwrap();
        let path = directory.0.join("1.sock");
        let hung = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&hung, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&hung, 0).unwrap();
        let waiting: Vec<_> = std::iter::from_fn(|| knock(&path).ok()).take(8).collect();
        assert!(waiting.len() < 8, "its queue is full");
        let (done, is_done) = std::sync::mpsc::channel();
        let within = directory.0.clone();
        thread::spawn(move || {
            let other = Listener::bind(&within, 2).unwrap();
            let asked = ask(&within, Target::Pid(1), &SHOW);
            done.send((other, asked)).unwrap();
        });
        let (_other, asked) = is_done.recv_timeout(PATIENCE * 4).expect("no wait");
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("does not answer"), "{error}");
        assert!(path.exists(), "it is not dead");
    }

    #[test]
    fn no_server_is_said_so() {
        let directory = Directory::new("none");
        for target in [
            Target::Only,
            Target::Pid(9),
            Target::Path(Path::new("/no/x.sock")),
        ] {
            let error = ask(&directory.0, target, &Request::Show(Show::Stats)).unwrap_err();
            assert!(
                error.to_string().starts_with("no running server"),
                "{error}"
            );
        }
    }

    #[test]
    fn sockets_of_dead_servers_are_removed_and_those_of_living_ones_are_not() {
        let directory = Directory::new("stale");
        let living = Listener::bind(&directory.0, 1).unwrap();
        // A listener of std leaves its file behind: what `kill -9` does.
        drop(UnixListener::bind(directory.0.join("2.sock")).unwrap());
        drop(UnixListener::bind(directory.0.join("3.sock")).unwrap());
        fs::write(directory.0.join("notes.txt"), "not ours").unwrap();
        let only = ask(&directory.0, Target::Pid(2), &Request::Show(Show::Stats)).unwrap_err();
        assert_eq!(only.to_string(), "no running server has the pid 2");
        let again = Listener::bind(&directory.0, 3).unwrap();
        let mut left = files(&directory);
        left.sort_unstable();
        assert_eq!(left, ["1.sock", "3.sock", "notes.txt"]);
        // A living server's name is not taken over.
        assert!(Listener::bind(&directory.0, 1).is_err());
        assert!(living.path().exists() && again.path().exists());
    }
}
