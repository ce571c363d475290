//! From what a request asks for to a file, or to the part of it that is wanted.

use crate::date;
use crate::request::Conditions;
use gort::fs::{self, File};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A directory whose files are served.
pub(crate) struct Files {
    /// Without symbolic links.
    root: PathBuf,
}

/// What there is at a path.
pub(crate) enum Found {
    File(Box<Served>),
    /// A directory that was asked for without the slash at its end: relative links in its index would lead astray.
    Directory(String),
    /// None, with the reason.
    Nothing(&'static str),
}

const BAD_PATH: Found = Found::Nothing("400 Bad Request");
const NOT_FOUND: Found = Found::Nothing("404 Not Found");

/// A file as it is answered.
pub(crate) struct Served {
    pub(crate) file: File,
    pub(crate) len: u64,
    pub(crate) content_type: &'static str,
    pub(crate) last_modified: String,
    pub(crate) tag: String,
    pub(crate) part: Part,
}

pub(crate) enum Part {
    Whole,
    Range(Range<u64>),
    /// The client has it already.
    NotModified,
    /// The client wants it only as it was.
    Changed,
    /// The file has no such part.
    Unsatisfiable,
}

impl Files {
    pub(crate) fn new(directory: impl AsRef<Path>) -> io::Result<Files> {
        let root = fs::canonicalize(directory)?;
        if fs::metadata(&root)?.is_dir() { Ok(Files { root }) } else { Err(ErrorKind::NotADirectory.into()) }
    }

    pub(crate) fn find(&self, path: &str, conditions: &Conditions<'_>) -> Found {
        let Some(relative) = decode(path) else { return BAD_PATH };
        let mut place = self.root.join(relative);
        for is_index in [false, true] {
            let (file, metadata) = match self.open(&place).and_then(|file| Ok((file.metadata()?, file))) {
                Ok((metadata, file)) => (file, metadata),
                Err(error) => return Found::Nothing(status_of(&error)),
            };
            match (metadata.is_dir(), path.ends_with('/')) {
                (true, true) => place.push("index.html"),
                // Two slashes at the beginning would be the name of a host.
                (true, false) => return Found::Directory(format!("/{}/", path.trim_start_matches('/'))),
                // It was asked for as if it were a directory.
                (false, true) if !is_index => return NOT_FOUND,
                (false, _) if !metadata.is_file() => return NOT_FOUND,
                (false, _) => return Found::File(Box::new(Served::new(file, &metadata, &place, conditions))),
            }
        }
        // A directory that is called index.html.
        NOT_FOUND
    }

    /// Opens what is in the directory. Symbolic links may lead about in it, and not out of it.
    fn open(&self, place: &Path) -> io::Result<File> {
        // Not to wait for whoever would write to a FIFO.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(place)?;
        // Of the file that is open, not of the path: that may lead elsewhere by now.
        let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if real.starts_with(&self.root) { Ok(file) } else { Err(ErrorKind::NotFound.into()) }
    }
}

fn status_of(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => "404 Not Found",
        ErrorKind::PermissionDenied => "403 Forbidden",
        _ => match error.raw_os_error() {
            // A socket in the directory; a circle of links.
            Some(libc::ENXIO | libc::ELOOP) => "404 Not Found",
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => "503 Service Unavailable",
            _ => {
                eprintln!("http: a file: {error}");
                "500 Internal Server Error"
            }
        },
    }
}

/// The path in a directory that `path` stands for. None if it is none, or would lead out.
fn decode(path: &str) -> Option<PathBuf> {
    let mut place = PathBuf::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let mut bytes = Vec::with_capacity(segment.len());
        let mut rest = segment.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let mut digit = || (rest.next()? as char).to_digit(16);
                    (digit()? * 16 + digit()?) as u8
                }
                _ => byte,
            });
        }
        if bytes.contains(&0) {
            return None;
        }
        // What was encoded is a name, whatever it looks like; and no name has a slash, or is `.` or `..`.
        let name = PathBuf::from(OsString::from_vec(bytes));
        match (name.components().next(), name.components().count()) {
            (Some(Component::Normal(part)), 1) if part.len() == name.as_os_str().len() => place.push(part),
            _ => return None,
        }
    }
    Some(place)
}

impl Served {
    fn new(file: File, metadata: &std::fs::Metadata, place: &Path, conditions: &Conditions<'_>) -> Served {
        let len = metadata.len();
        // What was changed before 1970 counts as of then.
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let last_modified = date::format(since.as_secs());
        let tag = format!("\"{:x}-{len:x}\"", since.as_nanos());
        let part = part(len, since.as_secs(), &tag, conditions);
        Served { file, len, content_type: content_type(place), last_modified, tag, part }
    }
}

/// What is to be sent of a file that is so long, was changed at `modified` and has the entity tag `tag`.
fn part(len: u64, modified: u64, tag: &str, conditions: &Conditions<'_>) -> Part {
    fn any(tags: &[u8], is_it: impl Fn(&[u8]) -> bool) -> bool {
        tags.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).any(|each| each == b"*" || is_it(each))
    }
    // The order of RFC 9110, 13.2.2.
    let has_changed = match (conditions.if_match, conditions.if_unmodified_since) {
        // A weak tag does not say that each byte is the same.
        (Some(tags), _) => !any(tags, |each| each == tag.as_bytes()),
        (None, Some(date)) => date::parse(date).is_some_and(|date| modified > date),
        (None, None) => false,
    };
    if has_changed {
        return Part::Changed;
    }
    let is_known = match (conditions.if_none_match, conditions.if_modified_since) {
        (Some(tags), _) => any(tags, |each| each.strip_prefix(b"W/").unwrap_or(each) == tag.as_bytes()),
        (None, Some(date)) => date::parse(date).is_some_and(|date| modified <= date),
        (None, None) => false,
    };
    if is_known {
        return Part::NotModified;
    }
    // A part is of use only if the client's other parts are of the same file.
    let is_same = conditions
        .if_range
        .is_none_or(|value| value.trim_ascii() == tag.as_bytes() || date::parse(value) == Some(modified));
    match conditions.range {
        Some(range) if is_same => parse_range(range, len),
        _ => Part::Whole,
    }
}

/// `bytes=1-2`, `bytes=1-` and `bytes=-2`. Of several ranges at once, and of what is no range, the whole is sent, as is allowed.
fn parse_range(range: &[u8], len: u64) -> Part {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Too many digits are beyond any file.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let parse = || {
        let (first, last) = std::str::from_utf8(range).ok()?.trim().strip_prefix("bytes=")?.split_once('-')?;
        match (number(first.trim()), last.trim()) {
            (Some(first), "") => Some(first..len),
            (Some(first), last) => number(last).filter(|&last| last >= first).map(|last| first..last.saturating_add(1)),
            (None, last) if first.trim().is_empty() => Some(match number(last)? {
                // The last 0 bytes.
                0 => len..len,
                count => len.saturating_sub(count)..len,
            }),
            (None, _) => None,
        }
    };
    match parse() {
        Some(range) if range.start >= len => Part::Unsatisfiable,
        Some(range) => Part::Range(range.start..range.end.min(len)),
        None => Part::Whole,
    }
}

fn content_type(place: &Path) -> &'static str {
    let extension = place.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" | "md" => "text/plain; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}
