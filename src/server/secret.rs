//! One secret of initial sequence numbers and timestamps for all processes since boot.
//!
//! With the clock, which goes on too, it makes those of a server go on where the one before it has
//! ended (RFC 6528 section 3, RFC 7323 section 5.4). Else a peer's TIME-WAITs, which a new process
//! knows nothing of, would refuse half of its connections for a minute.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// As many as [`StackConfig`](crate::stack::StackConfig) wants.
pub(super) const OCTETS: usize = 32;
/// In the directory of the control sockets, which ends with the boot.
const NAME: &str = "secret";
/// Where that does not end with the boot, this tells: the clock begins anew.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The secret in `directory`, made if there is none.
///
/// # Errors
///
/// It cannot be read or made, or others may read it.
pub(super) fn of_this_boot(directory: &Path) -> io::Result<[u8; OCTETS]> {
    let boot = fs::read(BOOT_ID)?;
    fs::create_dir_all(directory)?;
    let path = directory.join(NAME);
    match read(&path, &boot) {
        Ok(Some(secret)) => return Ok(secret),
        Ok(None) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Under another name first: nobody meets half of it.
    let draft = directory.join(format!("{NAME}.{}", std::process::id()));
    let _ = fs::remove_file(&draft);
    let made = write(&draft, &boot).and_then(|()| match fs::hard_link(&draft, &path) {
        // Another server has been faster.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    let _ = fs::remove_file(&draft);
    made?;
    read(&path, &boot)?.ok_or_else(|| io::Error::other(format!("{} is not right", path.display())))
}

/// A secret for this process alone.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(octets)
}

fn write(path: &Path, boot: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&random::<OCTETS>()?)?;
    file.write_all(boot)
}

/// None if it is of another boot.
fn read(path: &Path, boot: &[u8]) -> io::Result<Option<[u8; OCTETS]>> {
    let mut options = OpenOptions::new();
    let mut file: File = options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let about = file.metadata()?;
    if about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o077 != 0 {
        let path = path.display();
        let error = format!("{path} belongs to someone else or is open to others: remove it");
        return Err(io::Error::other(error));
    }
    let (mut secret, mut of) = ([0; OCTETS], Vec::new());
    file.read_exact(&mut secret)?;
    file.take(1024).read_to_end(&mut of)?;
    Ok((of == boot).then_some(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("corelane-secret-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_process_of_a_boot_has_the_same_secret() {
        let directory = Directory::new("same");
        let first = of_this_boot(&directory.0).unwrap();
        assert_ne!(first, [0; OCTETS]);
        assert_eq!(of_this_boot(&directory.0).unwrap(), first);
        let left: Vec<_> = fs::read_dir(&directory.0).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        let file = directory.0.join(NAME);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let mut octets = fs::read(&file).unwrap();
        *octets.last_mut().unwrap() ^= 1;
        fs::write(&file, octets).unwrap();
        assert_ne!(of_this_boot(&directory.0).unwrap(), first, "another boot");
    }

    #[test]
    fn what_others_may_read_is_no_secret() {
        let directory = Directory::new("open");
        of_this_boot(&directory.0).unwrap();
        let file = directory.0.join(NAME);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = of_this_boot(&directory.0).unwrap_err().to_string();
        assert!(
            error.contains("secret") && error.contains("remove it"),
            "{error}"
        );
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = Directory::new("link");
        fs::create_dir_all(&directory.0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.0.join(NAME)).unwrap();
        assert!(of_this_boot(&directory.0).is_err());
    }
}
