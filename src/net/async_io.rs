//! `futures_io` for the streams.
//!
//! A poll is an attempt that leaves the task's waker where an operation of a coroutine would wait (`wakers.rs`).

use super::fd::HasFd;
use super::{TcpStream, UnixStream};
use crate::io::{PipeReader, PipeWriter};
use crate::os::{file, socket};
use crate::poll::desc::Direction;
use crate::process::{ChildStderr, ChildStdin, ChildStdout};
use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Ends the writing direction. That it had ended already, by the peer, is no error here.
fn close_socket(socket: impl AsFd) -> io::Result<()> {
    match SockRef::from(&socket).shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

macro_rules! reads {
    ($($of:ty, $read:path, $read_vectored:path;)*) => {$(
        /// See [`future`](crate::future#streams-as-futures).
        ///
        /// # Scheduling
        ///
        /// Returns at once; the task is woken when there is something to read.
        impl AsyncRead for $of {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                if buffer.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                HasFd::fd(&*self).poll_io(Direction::Read, context, |fd| $read(fd.as_fd(), buffer))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                if buffers.iter().all(|buffer| buffer.is_empty()) {
                    return Poll::Ready(Ok(0));
                }
                HasFd::fd(&*self).poll_io(Direction::Read, context, |fd| $read_vectored(fd.as_fd(), buffers))
            }
        }
    )*};
}

macro_rules! writes {
    ($($of:ty, $write:path, $write_vectored:path, $close:expr, $closing:literal;)*) => {$(
        /// See [`future`](crate::future#streams-as-futures).
        ///
        #[doc = $closing]
        ///
        /// # Scheduling
        ///
        /// Returns at once; the task is woken when there is room.
        impl AsyncWrite for $of {
            fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                HasFd::fd(&*self).poll_io(Direction::Write, context, |fd| $write(fd.as_fd(), bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                HasFd::fd(&*self).poll_io(Direction::Write, context, |fd| $write_vectored(fd.as_fd(), slices))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready($close(HasFd::fd(&*self)))
            }
        }
    )*};
}

reads! {
    TcpStream, socket::recv, socket::recv_vectored;
    &TcpStream, socket::recv, socket::recv_vectored;
    UnixStream, socket::recv, socket::recv_vectored;
    &UnixStream, socket::recv, socket::recv_vectored;
    PipeReader, file::read, file::read_vectored;
    &PipeReader, file::read, file::read_vectored;
    ChildStdout, file::read, file::read_vectored;
    &ChildStdout, file::read, file::read_vectored;
    ChildStderr, file::read, file::read_vectored;
    &ChildStderr, file::read, file::read_vectored;
}

writes! {
    TcpStream, socket::send, socket::send_vectored, close_socket, "Closing shuts the writing direction down.";
    &TcpStream, socket::send, socket::send_vectored, close_socket, "Closing shuts the writing direction down.";
    UnixStream, socket::send, socket::send_vectored, close_socket, "Closing shuts the writing direction down.";
    &UnixStream, socket::send, socket::send_vectored, close_socket, "Closing shuts the writing direction down.";
    PipeWriter, file::write, file::write_vectored, |_| Ok(()), "Closing does nothing: a pipe ends when it is dropped.";
    &PipeWriter, file::write, file::write_vectored, |_| Ok(()), "Closing does nothing: a pipe ends when it is dropped.";
    ChildStdin, file::write, file::write_vectored, |_| Ok(()), "Closing does nothing: a pipe ends when it is dropped.";
    &ChildStdin, file::write, file::write_vectored, |_| Ok(()), "Closing does nothing: a pipe ends when it is dropped.";
}
