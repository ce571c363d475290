//! The faces of an [`Fd`](super::fd::Fd): what the public types have in common, written once.
//!
//! Every public type is a struct with one field, `fd: Arc<Fd<_>>`, and all that it does is done there. The macros
//! here give it the methods that std gives to all types of its kind, each with an example: `$setup` makes one of the
//! type under the name `socket`, `$read` and `$write` do something that has to wait and leave the `error`.

/// Clones, and the mode in which nothing waits.
macro_rules! handle {
    ($name:ident, $setup:expr, $wait:expr) => {
        impl $name {
            /// A second handle to the same descriptor, with the same settings. Both share it, so nothing is
            /// duplicated.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::os::fd::AsRawFd;
            #[doc = $setup]
            /// let other = socket.try_clone()?;
            /// assert_eq!(socket.as_raw_fd(), other.as_raw_fd());
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// None; the result is there to be like std's.
            pub fn try_clone(&self) -> std::io::Result<$name> {
                Ok($name { fd: self.fd.clone() })
            }

            /// Makes operations that would wait return [`WouldBlock`](std::io::ErrorKind::WouldBlock), or wait
            /// again. Holds for operations that begin from now on, in all clones. It is not the mode of the
            /// [descriptor](crate::coming_from::std_net#descriptors).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// socket.set_nonblocking(true)?;
            #[doc = $wait]
            /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// None; the result is there to be like std's.
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.fd.set_nonblocking(nonblocking);
                Ok(())
            }
        }
    };
}

/// The address of this side, which std reads as of its own type, `$std`; `$what` says what it is, and `$check` looks at it.
macro_rules! local_addr {
    ($name:ident, $std:ty, $what:expr, $setup:expr, $check:expr) => {
        impl $name {
            #[doc = $what]
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = $check]
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the system refuses, which it does not for a valid socket.
            pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
                $crate::os::socket::as_std(&*self.fd, <$std>::local_addr)
            }
        }
    };
}

/// The address of the other side; as for [`local_addr`].
macro_rules! peer_addr {
    ($name:ident, $std:ty, $what:expr, $setup:expr, $check:expr) => {
        impl $name {
            #[doc = $what]
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = $check]
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`NotConnected`](std::io::ErrorKind::NotConnected) if it is not connected, or not any more.
            pub fn peer_addr(&self) -> std::io::Result<SocketAddr> {
                $crate::os::socket::as_std(&*self.fd, <$std>::peer_addr)
            }
        }
    };
}

/// The error that the kernel keeps for a socket.
macro_rules! pending_error {
    ($name:ident, $setup:expr) => {
        impl $name {
            /// Takes the error that is pending on the socket, if there is one: `SO_ERROR`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// assert!(socket.take_error()?.is_none());
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the system refuses, which it does not for a valid socket.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                socket2::SockRef::from(&*self.fd).take_error()
            }
        }
    };
}

/// How far packets go.
macro_rules! time_to_live {
    ($name:ident, $setup:expr) => {
        impl $name {
            /// Sets the time to live of the packets sent: `IP_TTL`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// socket.set_ttl(100)?;
            /// assert_eq!(socket.ttl()?, 100);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the value is not in 1 to 255.
            pub fn set_ttl(&self, ttl: u32) -> std::io::Result<()> {
                socket2::SockRef::from(&*self.fd).set_ttl_v4(ttl)
            }

            /// The time to live of the packets sent; see [`Self::set_ttl`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// assert!(socket.ttl()? > 0);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If the system refuses, which it does not for a valid socket.
            pub fn ttl(&self) -> std::io::Result<u32> {
                socket2::SockRef::from(&*self.fd).ttl_v4()
            }
        }
    };
}

/// Timeout and deadline of what waits to read.
macro_rules! read_limits {
    ([$($generics:tt)*] $name:ty, $setup:expr, $read:expr) => {
        impl $($generics)* $name {
            /// Sets how long a read may wait before it fails with [`TimedOut`](std::io::ErrorKind::TimedOut);
            /// `None`, as at the start: without end. Holds for reads that begin from now on, in all clones.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// socket.set_read_timeout(Some(std::time::Duration::from_millis(1)))?;
            #[doc = $read]
            /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the timeout is zero.
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.fd.set_timeout(crate::poll::desc::Direction::Read, timeout)
            }

            /// How long a read may wait; see [`Self::set_read_timeout`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// assert_eq!(socket.read_timeout()?, None);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// None; the result is there to be like std's.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.fd.timeout(crate::poll::desc::Direction::Read))
            }

            /// Sets the time after which reads fail with [`TimedOut`](std::io::ErrorKind::TimedOut), or takes it
            /// away. Reads that already wait go by the new time at once. Once it has passed, every read fails, even
            /// if there is something to read, until the deadline is moved.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// socket.set_read_deadline(Some(std::time::Instant::now()));
            #[doc = $read]
            /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Scheduling
            ///
            /// Returns at once; wakes who waits.
            pub fn set_read_deadline(&self, deadline: Option<std::time::Instant>) {
                self.fd.set_deadline(crate::poll::desc::Direction::Read, deadline);
            }
        }
    };
    ($name:ident, $setup:expr, $read:expr) => {
        $crate::net::face::read_limits!([] $name, $setup, $read);
    };
}

/// Timeout and deadline of what waits to write.
macro_rules! write_limits {
    ([$($generics:tt)*] $name:ty, $setup:expr, $write:expr) => {
        impl $($generics)* $name {
            /// Sets how long a write may wait before it fails with [`TimedOut`](std::io::ErrorKind::TimedOut);
            /// `None`, as at the start: without end. Holds for writes that begin from now on, in all clones.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::time::Duration;
            #[doc = $setup]
            /// socket.set_write_timeout(Some(Duration::from_secs(5)))?;
            /// assert_eq!(socket.write_timeout()?, Some(Duration::from_secs(5)));
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the timeout is zero.
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.fd.set_timeout(crate::poll::desc::Direction::Write, timeout)
            }

            /// How long a write may wait; see [`Self::set_write_timeout`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// assert_eq!(socket.write_timeout()?, None);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// None; the result is there to be like std's.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.fd.timeout(crate::poll::desc::Direction::Write))
            }

            /// Sets the time after which writes fail with [`TimedOut`](std::io::ErrorKind::TimedOut), or takes it
            /// away. Writes that already wait go by the new time at once. Once it has passed, every write fails,
            /// even if there is room, until the deadline is moved.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// socket.set_write_deadline(Some(std::time::Instant::now()));
            #[doc = $write]
            /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Scheduling
            ///
            /// Returns at once; wakes who waits.
            pub fn set_write_deadline(&self, deadline: Option<std::time::Instant>) {
                self.fd.set_deadline(crate::poll::desc::Direction::Write, deadline);
            }
        }
    };
    ($name:ident, $setup:expr, $write:expr) => {
        $crate::net::face::write_limits!([] $name, $setup, $write);
    };
}

/// A socket that is read and written as a stream of bytes.
macro_rules! byte_stream {
    ($name:ident, $setup:expr) => {
        impl $name {
            /// Ends one direction of the connection, or both. Whoever waits there is woken: reads return what is left
            /// and then 0, writes fail.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::Read;
            #[doc = $setup]
            /// socket.shutdown(std::net::Shutdown::Both)?;
            /// assert_eq!((&socket).read(&mut [0; 8])?, 0);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`NotConnected`](std::io::ErrorKind::NotConnected) if the socket is not connected any more.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                socket2::SockRef::from(&*self.fd).shutdown(how)
            }
        }

        $crate::net::face::byte_stream!(@impl $name, $name, &$name);
        $crate::net::face::descriptor!($name);
    };
    (@impl $name:ident, $($of:ty),*) => {$(
        /// # Scheduling
        ///
        /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        impl std::io::Read for $of {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.fd.recv(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.fd.recv_vectored(buffers)
            }
        }

        /// # Scheduling
        ///
        /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        impl std::io::Write for $of {
            #[inline]
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.fd.send(bytes)
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.fd.send_vectored(slices)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    )*};
}

/// Sending files.
macro_rules! send_file {
    ($name:ident, $setup:expr, $check:expr) => {
        impl $name {
            /// Sends bytes of a file without taking them into the program (`sendfile(2)`): at most `limit`, from `offset` on, wherever
            /// the file's own position is. Returns how many those were, as a write does; 0 if the file ends at `offset`, or `limit` is 0.
            ///
            /// At most a mebibyte goes at a time, so that others have their turn in between.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{ErrorKind, Read};
            #[doc = $setup]
            /// # let path = std::env::temp_dir().join(format!("gort-send-{}-{}", stringify!($name), std::process::id()));
            /// # std::fs::write(&path, "the whole and its parts")?;
            /// let file = gort::fs::File::open(&path)?;
            /// let mut range = 14..23;
            /// while range.start < range.end {
            ///     match socket.send_file(&file, range.start, (range.end - range.start) as usize)? {
            ///         0 => return Err(ErrorKind::UnexpectedEof.into()),
            ///         count => range.start += count as u64,
            ///     }
            /// }
            /// # std::fs::remove_file(&path)?;
            #[doc = $check]
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// Those of writing, [`TimedOut`](std::io::ErrorKind::TimedOut) when the write timeout or deadline passes, and those of
            /// reading the file; [`InvalidInput`](std::io::ErrorKind::InvalidInput) if what is to be read is no file that the kernel can send from.
            ///
            /// If the other side has gone the kernel raises `SIGPIPE` as well, from which no flag keeps it, unlike with a write. A Rust
            /// program ignores that signal unless it was told otherwise.
            ///
            /// # Scheduling
            ///
            /// Parks the coroutine (outside a runtime, blocks the thread) while the socket takes nothing; may be cancelled. The file is
            /// read as in [`fs`](crate::fs#scheduling). It waits inside the kernel if somebody has put the open file behind the socket into
            /// blocking mode.
            pub fn send_file<F>(&self, file: &F, offset: u64, limit: usize) -> std::io::Result<usize>
            where
                F: std::os::fd::AsFd + ?Sized,
            {
                self.fd.send_file(file.as_fd(), offset, limit)
            }
        }
    };
}

/// What listeners have, but for how they are made: the time limit, and the iterators.
macro_rules! listener {
    ($name:ident, $stream:ident, $setup:expr, $connect:expr) => {
        impl $name {
            /// An iterator over the connections as they come: [`Self::accept`] for ever. It never ends, not after an
            /// error either.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = $connect]
            /// for stream in socket.incoming().take(1) {
            ///     println!("{:?}", stream?);
            /// }
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Scheduling
            ///
            /// `next` parks the coroutine, as [`Self::accept`] does.
            pub fn incoming(&self) -> Incoming<'_> {
                Incoming { listener: self }
            }

            /// [`Self::incoming`] that owns the listener.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = $connect]
            /// let mut connections = socket.into_incoming();
            /// let server = connections.next().expect("it never ends")?;
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Scheduling
            ///
            /// `next` parks the coroutine, as [`Self::accept`] does.
            pub fn into_incoming(self) -> IntoIncoming {
                IntoIncoming { listener: self }
            }

            /// Sets the time after which [`Self::accept`] fails with [`TimedOut`](std::io::ErrorKind::TimedOut), or
            /// takes it away. Calls that already wait go by the new time at once. Once it has passed, every call
            /// fails until it is moved.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            /// socket.set_deadline(Some(std::time::Instant::now()));
            /// assert_eq!(socket.accept().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Scheduling
            ///
            /// Returns at once; wakes who waits.
            pub fn set_deadline(&self, deadline: Option<std::time::Instant>) {
                self.fd.set_deadline(crate::poll::desc::Direction::Read, deadline);
            }
        }

        impl<'a> IntoIterator for &'a $name {
            type Item = std::io::Result<$stream>;
            type IntoIter = Incoming<'a>;

            fn into_iter(self) -> Incoming<'a> {
                self.incoming()
            }
        }

        /// The connections of a listener as they come.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = $setup]
        #[doc = $connect]
        /// let server = socket.incoming().next().expect("it never ends")?;
        /// # Ok::<(), std::io::Error>(())
        /// ```
        ///
        /// # Scheduling
        ///
        /// `next` parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        #[derive(Debug)]
        #[must_use = "iterators are lazy and do nothing unless consumed"]
        pub struct Incoming<'a> {
            listener: &'a $name,
        }

        impl Iterator for Incoming<'_> {
            type Item = std::io::Result<$stream>;

            fn next(&mut self) -> Option<std::io::Result<$stream>> {
                Some(self.listener.accept().map(|(stream, _)| stream))
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                (usize::MAX, None)
            }
        }

        impl std::iter::FusedIterator for Incoming<'_> {}

        /// The connections of a listener as they come, with the listener in it.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = $setup]
        #[doc = $connect]
        /// let server = socket.into_incoming().next().expect("it never ends")?;
        /// # Ok::<(), std::io::Error>(())
        /// ```
        ///
        /// # Scheduling
        ///
        /// `next` parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        #[derive(Debug)]
        #[must_use = "iterators are lazy and do nothing unless consumed"]
        pub struct IntoIncoming {
            listener: $name,
        }

        impl Iterator for IntoIncoming {
            type Item = std::io::Result<$stream>;

            fn next(&mut self) -> Option<std::io::Result<$stream>> {
                Some(self.listener.accept().map(|(stream, _)| stream))
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                (usize::MAX, None)
            }
        }

        impl std::iter::FusedIterator for IntoIncoming {}
    };
}

/// Between ours, std's, and bare descriptors. All ways in lead through `Fd::adopt`, all ways out through
/// `Fd::release`.
macro_rules! convert {
    ($name:ident, $std:path, $kind:expr, $setup:expr) => {
        impl $name {
            /// Turns it into std's: the timeouts go with it, and it blocks from now on unless
            /// [`set_nonblocking`](Self::set_nonblocking) was called.
            ///
            /// If there are clones, they go on as before with a descriptor of their own. The mode is that of the open file, which they share:
            /// a listener or an end of a pipe that has clones stays in non-blocking mode, because they need it.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $setup]
            #[doc = concat!("let socket: ", stringify!($std), " = socket.into_std()?;")]
            /// # Ok::<(), std::io::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// If there are clones and no descriptor is left for the duplicate.
            pub fn into_std(self) -> std::io::Result<$std> {
                Ok(self.fd.release()?.into())
            }
        }

        /// Takes over one of std's, whatever its mode: it is in non-blocking mode from now on, and operations wait
        /// until `set_nonblocking` says otherwise. Timeouts are kept.
        ///
        /// # Panics
        ///
        /// If the descriptor is not a valid one.
        impl From<$std> for $name {
            fn from(socket: $std) -> $name {
                std::os::fd::OwnedFd::from(socket).into()
            }
        }

        /// As `into_std` does it.
        ///
        /// # Panics
        ///
        /// If there are clones and no descriptor is left for a duplicate.
        impl From<$name> for $std {
            fn from(socket: $name) -> $std {
                std::os::fd::OwnedFd::from(socket).into()
            }
        }

        /// As the conversion from std's type does it.
        impl From<std::os::fd::OwnedFd> for $name {
            fn from(fd: std::os::fd::OwnedFd) -> $name {
                let fd = $crate::net::fd::Fd::adopt(fd, $kind);
                $name { fd: fd.expect(concat!("gort: the descriptor of a ", stringify!($name), " is not valid")) }
            }
        }

        /// As the conversion to std's type does it.
        impl From<$name> for std::os::fd::OwnedFd {
            fn from(socket: $name) -> std::os::fd::OwnedFd {
                socket.fd.release().expect(concat!(
                    "gort: cannot duplicate the descriptor of a ",
                    stringify!($name),
                    " that has clones"
                ))
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&*self.fd)
            }
        }

        /// The descriptor is in non-blocking mode. Clones have the same one.
        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&*self.fd)
            }
        }

        /// As the conversion to std's type does it.
        impl std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::IntoRawFd::into_raw_fd(std::os::fd::OwnedFd::from(self))
            }
        }

        /// As the conversion from std's type does it.
        impl std::os::fd::FromRawFd for $name {
            unsafe fn from_raw_fd(fd: std::os::fd::RawFd) -> $name {
                // SAFETY: the caller owns `fd` and gives it to us.
                unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) }.into()
            }
        }
    };
}

/// What is printed: the addresses, as far as there are any, and the descriptor.
macro_rules! debug {
    ($name:ident, $($field:literal = $address:ident),*) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut debug = f.debug_struct(stringify!($name));
                $(
                    if let Ok(address) = self.$address() {
                        debug.field($field, &address);
                    }
                )*
                debug.field("fd", &std::os::fd::AsRawFd::as_raw_fd(&*self.fd)).finish()
            }
        }
    };
}

/// What [`copy`](crate::io::copy()) and futures go by.
macro_rules! descriptor {
    ($name:ident) => {
        impl $crate::net::fd::HasFd for $name {
            fn fd(&self) -> &$crate::net::fd::Fd {
                &self.fd
            }
        }

        impl $crate::io::Descriptor for $name {
            fn end(&self) -> $crate::io::End<'_> {
                $crate::io::End::Waits($crate::net::fd::HasFd::fd(self))
            }
        }
    };
}

/// `Read` of a pipe's end.
macro_rules! pipe_read {
    ($name:ident) => {
        $crate::net::face::pipe_read!(@impl $name, &$name);
        $crate::net::face::descriptor!($name);
    };
    (@impl $($of:ty),*) => {$(
        /// # Scheduling
        ///
        /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        impl std::io::Read for $of {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.fd.when_readable(|fd: &std::os::fd::OwnedFd| {
                    $crate::os::file::read(std::os::fd::AsFd::as_fd(fd), buffer)
                })
            }

            fn read_vectored(&mut self, buffers: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.fd.when_readable(|fd: &std::os::fd::OwnedFd| {
                    $crate::os::file::read_vectored(std::os::fd::AsFd::as_fd(fd), buffers)
                })
            }
        }
    )*};
}

/// `Write` of a pipe's end.
macro_rules! pipe_write {
    ($name:ident) => {
        $crate::net::face::pipe_write!(@impl $name, &$name);
        $crate::net::face::descriptor!($name);
    };
    (@impl $($of:ty),*) => {$(
        /// # Scheduling
        ///
        /// Parks the coroutine (outside a runtime, blocks the thread); may be cancelled.
        impl std::io::Write for $of {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.fd.when_writable($crate::os::clock::NEVER, |fd: &std::os::fd::OwnedFd| {
                    $crate::os::file::write(std::os::fd::AsFd::as_fd(fd), bytes)
                })
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.fd.when_writable($crate::os::clock::NEVER, |fd: &std::os::fd::OwnedFd| {
                    $crate::os::file::write_vectored(std::os::fd::AsFd::as_fd(fd), slices)
                })
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    )*};
}

pub(crate) use {
    byte_stream, convert, debug, descriptor, handle, listener, local_addr, peer_addr, pending_error, pipe_read,
    pipe_write, read_limits, send_file, time_to_live, write_limits,
};
