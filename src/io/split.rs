//! The two directions of a stream, apart.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;

/// Takes a stream apart into a half that reads and a half that writes, each of which may go to a coroutine of its own.
///
/// Any type will do of which a shared reference reads and writes: all streams of [`net`](crate::net),
/// [`Pollable`](super::Pollable), std's. The stream is closed when both halves have been dropped; what only one of them is to
/// end, [`shutdown`](crate::net::TcpStream::shutdown) ends through [`WriteHalf::get_ref`].
///
/// # Examples
///
/// ```
/// use gort::net::{Shutdown, UnixStream};
/// use std::io::{Read, Write};
///
/// gort::run(|| {
///     let (near, far) = UnixStream::pair()?;
///     let (mut reader, mut writer) = gort::io::split(near);
///     let echo = gort::go!(move || gort::io::copy(&mut &far, &mut &far));
///     let sender = gort::go!(move || {
///         writer.write_all(b"there and back")?;
///         writer.get_ref().shutdown(Shutdown::Write)?;
///         Ok::<_, std::io::Error>(writer)
///     });
///     let mut text = String::new();
///     reader.read_to_string(&mut text)?;
///     assert_eq!(text, "there and back");
///     assert_eq!(echo.join().unwrap()?, 14);
///     let stream: UnixStream = reader.reunite(sender.join().unwrap()?).expect("halves of one stream");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
// Without a bound, which rustc would look into before it knows what `T` is, and go round through `Pollable` for ever.
pub fn split<T>(stream: T) -> (ReadHalf<T>, WriteHalf<T>) {
    let stream = Arc::new(stream);
    (ReadHalf { stream: stream.clone() }, WriteHalf { stream })
}

/// The half of a stream that reads; made by [`split`].
///
/// # Examples
///
/// See [`split`].
///
/// # Scheduling
///
/// As the stream.
pub struct ReadHalf<T> {
    stream: Arc<T>,
}

/// The half of a stream that writes; made by [`split`].
///
/// # Examples
///
/// See [`split`].
///
/// # Scheduling
///
/// As the stream.
pub struct WriteHalf<T> {
    stream: Arc<T>,
}

/// The two halves are not of one stream; made by [`ReadHalf::reunite`], and gives them back.
///
/// # Examples
///
/// ```
/// use gort::net::UnixStream;
/// let (a, b) = UnixStream::pair()?;
/// let ((reader, _), (_, writer)) = (gort::io::split(a), gort::io::split(b));
/// let error = reader.reunite(writer).unwrap_err();
/// assert_eq!(error.to_string(), "the halves are not of one stream");
/// let (reader, writer) = (error.0, error.1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReuniteError<T>(pub ReadHalf<T>, pub WriteHalf<T>);

impl<T> ReadHalf<T> {
    /// Puts the stream together again.
    ///
    /// # Examples
    ///
    /// See [`split`].
    ///
    /// # Errors
    ///
    /// If the halves are of two streams.
    pub fn reunite(self, other: WriteHalf<T>) -> Result<T, ReuniteError<T>> {
        if !Arc::ptr_eq(&self.stream, &other.stream) {
            return Err(ReuniteError(self, other));
        }
        drop(other);
        Ok(Arc::into_inner(self.stream).expect("there are two halves"))
    }

    /// The stream.
    ///
    /// # Examples
    ///
    /// See [`split`].
    pub fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T> WriteHalf<T> {
    /// The stream.
    ///
    /// # Examples
    ///
    /// See [`split`].
    pub fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T> Read for ReadHalf<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self.stream).read_vectored(buffers)
    }
}

impl<T> Write for WriteHalf<T>
where
    for<'a> &'a T: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.stream).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.stream).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.stream).flush()
    }
}

impl<T: fmt::Debug> fmt::Debug for ReadHalf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadHalf").field(&self.stream).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for WriteHalf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteHalf").field(&self.stream).finish()
    }
}

impl<T> fmt::Debug for ReuniteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("ReuniteError(..)")
    }
}

impl<T> fmt::Display for ReuniteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("the halves are not of one stream")
    }
}

impl<T> std::error::Error for ReuniteError<T> {}
