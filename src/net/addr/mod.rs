//! Addresses: std's own types, what stands for addresses, and trying each of them.

mod lookup;

use std::io;
pub use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Instant;
use std::{option, slice, vec};

/// What stands for one or more addresses: [`std::net::ToSocketAddrs`], for the same types, with a look-up of host
/// names that parks the coroutine instead of blocking its thread.
///
/// # Names
///
/// A host name is looked up by the system's resolver (`getaddrinfo`), so by what `/etc/hosts`, `/etc/resolv.conf` and
/// `/etc/nsswitch.conf` say. It knows only calls that block, so each look-up has a thread for as long as it takes; at
/// most 64 go on at once, further ones wait for their turn. A look-up whose caller has given up, because a deadline has
/// passed or it was cancelled, goes on to its end, and what it finds is dropped.
///
/// # Examples
///
/// ```
/// use gort::net::ToSocketAddrs;
///
/// gort::run(|| {
///     assert!("localhost:80".to_socket_addrs()?.all(|address| address.ip().is_loopback()));
///     assert_eq!("127.0.0.1:80".to_socket_addrs()?.len(), 1);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// The addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// The addresses that it stands for.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::ToSocketAddrs;
    /// let address = ("127.0.0.1", 80).to_socket_addrs()?.next().unwrap();
    /// assert_eq!(address.port(), 80);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is neither an address nor a name with a port; what the
    /// resolver says if there is no such name.
    ///
    /// # Scheduling
    ///
    /// Parks the coroutine (outside a runtime, blocks the thread) if a name has to be looked up; may be cancelled.
    /// Else returns at once.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;

    /// The addresses that it stands for, if they are found before `deadline`. Types of yours may leave it out if
    /// they look nothing up.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::ToSocketAddrs;
    /// use std::time::{Duration, Instant};
    /// let found = "localhost:80".to_socket_addrs_deadline(Instant::now() + Duration::from_secs(5))?;
    /// println!("{:?}", found.collect::<Vec<_>>());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::to_socket_addrs`]; [`TimedOut`](io::ErrorKind::TimedOut) when `deadline` passes.
    ///
    /// # Scheduling
    ///
    /// As [`Self::to_socket_addrs`].
    fn to_socket_addrs_deadline(&self, deadline: Instant) -> io::Result<Self::Iter> {
        let _ = deadline;
        self.to_socket_addrs()
    }
}

/// Those that are addresses. std knows how.
macro_rules! at_once {
    ($($name:ty => $iter:ty),* $(,)?) => {$(
        impl ToSocketAddrs for $name {
            type Iter = $iter;

            fn to_socket_addrs(&self) -> io::Result<$iter> {
                std::net::ToSocketAddrs::to_socket_addrs(self)
            }
        }
    )*};
}

at_once! {
    SocketAddr => option::IntoIter<SocketAddr>,
    SocketAddrV4 => option::IntoIter<SocketAddr>,
    SocketAddrV6 => option::IntoIter<SocketAddr>,
    (IpAddr, u16) => option::IntoIter<SocketAddr>,
    (Ipv4Addr, u16) => option::IntoIter<SocketAddr>,
    (Ipv6Addr, u16) => option::IntoIter<SocketAddr>,
}

/// Those that may be names: `$address` is the address if it is one, `$name` what a thread can keep and look up.
macro_rules! by_name {
    ($($name:ty, |$this:ident| $address:expr, $owned:expr);* $(;)?) => {$(
        impl ToSocketAddrs for $name {
            type Iter = vec::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
                let $this = self;
                match $address {
                    Some(address) => Ok(vec![address].into_iter()),
                    None => lookup::run($owned, None),
                }
            }

            fn to_socket_addrs_deadline(&self, deadline: Instant) -> io::Result<vec::IntoIter<SocketAddr>> {
                let $this = self;
                match $address {
                    Some(address) => Ok(vec![address].into_iter()),
                    None => lookup::run($owned, Some(deadline)),
                }
            }
        }
    )*};
}

by_name! {
    str, |name| name.parse().ok(), name.to_owned();
    String, |name| name.parse().ok(), name.clone();
    (&str, u16), |name| with_port(name.0, name.1), (name.0.to_owned(), name.1);
    (String, u16), |name| with_port(&name.0, name.1), name.clone();
}

fn with_port(host: &str, port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::new(host.parse().ok()?, port))
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = std::iter::Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<T::Iter> {
        (**self).to_socket_addrs()
    }

    fn to_socket_addrs_deadline(&self, deadline: Instant) -> io::Result<T::Iter> {
        (**self).to_socket_addrs_deadline(deadline)
    }
}

/// Tries `attempt` with each address until one succeeds; the last error if none does.
pub(super) fn each_address<T>(
    addresses: impl Iterator<Item = SocketAddr>,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses {
        match attempt(address) {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses")))
}

/// The internet address in the kernel's form of one.
pub(super) fn internet(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"))
}
