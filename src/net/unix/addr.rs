//! Addresses between std's form, which is the public one, and the kernel's.

use socket2::SockAddr;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
pub use std::os::unix::net::SocketAddr;

/// std's form of an address; an error if it is a path of 108 bytes, with no NUL behind it: the kernel knows such, and std reads them from
/// a socket, but makes none.
pub(super) fn from_kernel(address: SockAddr) -> io::Result<SocketAddr> {
    // A sender without an address has no family either.
    if address.len() == 0 || address.is_unnamed() {
        return SocketAddr::from_pathname("");
    }
    match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => SocketAddr::from_pathname(path),
        (None, Some(name)) => SocketAddr::from_abstract_name(name),
        (None, None) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not an address of a Unix socket")),
    }
}

/// The kernel's form of an address to which something is sent or connected.
pub(super) fn to_kernel(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        SockAddr::unix(path)
    } else if let Some(name) = address.as_abstract_name() {
        let name = [&[0], name].concat();
        SockAddr::unix(OsStr::from_bytes(&name))
    } else {
        // What the kernel says.
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let path = SocketAddr::from_pathname("/run/some.socket").unwrap();
        let name = SocketAddr::from_abstract_name(b"a\0name\xff").unwrap();
        for address in [path, name] {
            let back = from_kernel(to_kernel(&address).unwrap()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{address:?}"));
        }
        let unnamed = SocketAddr::from_pathname("").unwrap();
        assert!(unnamed.is_unnamed());
        assert_eq!(to_kernel(&unnamed).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(from_kernel(std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into()).is_err());
    }
}
