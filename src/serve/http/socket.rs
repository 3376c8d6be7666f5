//! How clients connect: by an address, or by a Unix socket that only the user of this process may use.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::serve::address::ServeAddress;
#[cfg(unix)]
use file::SocketFile;

/// A connection with a client.
pub(crate) trait Link: Read + Write + Send {
    fn wait(&self, waits: bool) -> io::Result<()>;
    fn write_within(&self, time: Duration) -> io::Result<()>;
    /// Ends the sending direction of the connection.
    fn end(&self) -> io::Result<()>;
}

macro_rules! link {
    ($stream:ty) => {
        impl Link for $stream {
            fn wait(&self, waits: bool) -> io::Result<()> {
                self.set_nonblocking(!waits)
            }

            fn write_within(&self, time: Duration) -> io::Result<()> {
                self.set_write_timeout(Some(time))
            }

            fn end(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }
        }
    };
}
link!(TcpStream);
#[cfg(unix)]
link!(UnixStream);

/// What the server listens on. Dropping it removes the file of a socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

impl Listener {
    /// Begins to listen, without blocking, and returns the address.
    pub(crate) fn bind(address: &ServeAddress) -> io::Result<(Self, ServeAddress)> {
        match address {
            ServeAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?.into();
                Ok((Self::Tcp(listener), address))
            }
            #[cfg(unix)]
            ServeAddress::Unix(path) => {
                let (listener, file) = file::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok((Self::Unix { listener, _file: file }, address.clone()))
            }
        }
    }

    /// The next client, if one is there.
    pub(crate) fn accept(&self) -> io::Result<Box<dyn Link>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept()?.0)),
            #[cfg(unix)]
            Self::Unix { listener, .. } => Ok(Box::new(listener.accept()?.0)),
        }
    }
}

#[cfg(unix)]
mod file {
    use std::fs::{self, DirBuilder, Permissions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};

    /// The file of a socket. Dropping this removes it, unless another file has taken its place.
    #[derive(Debug)]
    pub(crate) struct SocketFile {
        path: PathBuf,
        id: (u64, u64),
    }

    impl Drop for SocketFile {
        fn drop(&mut self) {
            if id(&self.path).is_ok_and(|found| found == self.id) {
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    fn id(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
    }

    /// Removes the file only if no process listens on it any more.
    fn make_room(path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket has this name"))
            }
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")),
            },
        }
    }

    /// Makes the socket in a folder that is closed to other users, closes the socket to them, and only then gives it
    /// its name.
    pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        make_room(path)?;
        let folder = path.with_file_name(format!(".r{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let made = folder.join("s");
        let listen = || {
            let listener = UnixListener::bind(&made)?;
            fs::set_permissions(&made, Permissions::from_mode(0o600))?;
            fs::rename(&made, path)?;
            Ok((listener, SocketFile { path: path.to_owned(), id: id(path)? }))
        };
        let listened = listen();
        let _ = fs::remove_file(&made);
        let _ = fs::remove_dir(&folder);
        listened
    }
}
