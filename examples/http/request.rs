//! The head of a request.

/// The longest request line and headers, together.
pub(crate) const HEAD_BYTES: usize = 8 << 10;
pub(crate) const HEADERS: usize = 64;
/// The longest request body.
pub(crate) const BODY_BYTES: u64 = 1 << 20;

/// Why a request gets no more than this. The connection ends then: where the next request would
/// begin is not known, or would be costly to find out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) &'static str);

pub(crate) const BAD_REQUEST: Refusal = Refusal("400 Bad Request");
pub(crate) const TIMEOUT: Refusal = Refusal("408 Request Timeout");
pub(crate) const CONTENT_TOO_LARGE: Refusal = Refusal("413 Content Too Large");
pub(crate) const EXPECTATION_FAILED: Refusal = Refusal("417 Expectation Failed");
pub(crate) const HEADERS_TOO_LARGE: Refusal = Refusal("431 Request Header Fields Too Large");
pub(crate) const NOT_IMPLEMENTED: Refusal = Refusal("501 Not Implemented");
pub(crate) const VERSION_NOT_SUPPORTED: Refusal = Refusal("505 HTTP Version Not Supported");

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    /// One that HTTP knows, and nothing here takes.
    Other,
}

/// How long the body is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Counted(u64),
    Chunked,
}

/// What we need to know of a request.
pub(crate) struct Request<'a> {
    /// Bytes of the request line and the headers.
    pub(crate) head_len: usize,
    /// The version is 1.1, not 1.0.
    pub(crate) is_1_1: bool,
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: &'a str,
    pub(crate) body: Body,
    /// The client waits for our permission to send the body.
    pub(crate) expects_continue: bool,
    pub(crate) keep_alive: bool,
    pub(crate) conditions: Conditions<'a>,
}

/// What a client knows of the file that it asks for, and which part it wants.
#[derive(Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) if_match: Option<&'a [u8]>,
    pub(crate) if_unmodified_since: Option<&'a [u8]>,
    pub(crate) if_none_match: Option<&'a [u8]>,
    pub(crate) if_modified_since: Option<&'a [u8]>,
    pub(crate) if_range: Option<&'a [u8]>,
    pub(crate) range: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Parses the head at the start of `input`; None if it is not complete yet.
    pub(crate) fn parse(input: &'a [u8]) -> Result<Option<Request<'a>>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parser = httparse::Request::new(&mut headers);
        let head_len = match parser.parse(input) {
            Ok(httparse::Status::Complete(len)) if len <= HEAD_BYTES => len,
            Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HEADERS_TOO_LARGE),
            Err(httparse::Error::Version) if has_other_version(input) => return Err(VERSION_NOT_SUPPORTED),
            Err(_) => return Err(BAD_REQUEST),
        };
        let method = match parser.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            Some("PUT" | "PATCH" | "DELETE" | "OPTIONS" | "TRACE" | "CONNECT") => Method::Other,
            _ => return Err(NOT_IMPLEMENTED),
        };
        let is_1_1 = parser.version == Some(1);
        let path = path(parser.path.unwrap_or_default()).ok_or(BAD_REQUEST)?;
        let (body, conditions) = (Body::Counted(0), Conditions::default());
        let mut request =
            Request { head_len, is_1_1, method, path, body, expects_continue: false, keep_alive: is_1_1, conditions };
        let (mut hosts, mut length, mut coding, mut close) = (0, None, None, false);
        for header in parser.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("Host") {
                hosts += 1;
            } else if is("Content-Length") {
                // Two that differ make it a matter of opinion where the next request begins.
                let parsed = content_length(header.value)?;
                if length.replace(parsed).is_some_and(|earlier| earlier != parsed) {
                    return Err(BAD_REQUEST);
                }
            } else if is("Transfer-Encoding") {
                // Twice would be chunks in chunks; HTTP/1.0 knows none.
                if coding.replace(header.value).is_some() || !is_1_1 {
                    return Err(BAD_REQUEST);
                }
            } else if is("Connection") {
                for token in header.value.split(|&byte| byte == b',') {
                    close |= is_token(token, "close");
                    request.keep_alive |= is_token(token, "keep-alive");
                }
            } else if is("Expect") {
                if !is_token(header.value, "100-continue") {
                    return Err(EXPECTATION_FAILED);
                }
                request.expects_continue = is_1_1;
            } else if is("If-Match") {
                request.conditions.if_match = Some(header.value);
            } else if is("If-Unmodified-Since") {
                request.conditions.if_unmodified_since = Some(header.value);
            } else if is("If-None-Match") {
                request.conditions.if_none_match = Some(header.value);
            } else if is("If-Modified-Since") {
                request.conditions.if_modified_since = Some(header.value);
            } else if is("If-Range") {
                request.conditions.if_range = Some(header.value);
            } else if is("Range") && method == Method::Get {
                // With other methods it means nothing.
                request.conditions.range = Some(header.value);
            }
        }
        request.keep_alive &= !close;
        request.body = match (coding, length) {
            // Whoever believes one header and not the other sees another request in the body.
            (Some(_), Some(_)) => return Err(BAD_REQUEST),
            (Some(coding), None) if is_token(coding, "chunked") => Body::Chunked,
            (Some(_), None) => return Err(NOT_IMPLEMENTED),
            (None, Some(length)) if length > BODY_BYTES => return Err(CONTENT_TOO_LARGE),
            (None, length) => Body::Counted(length.unwrap_or(0)),
        };
        if hosts > 1 || is_1_1 && hosts == 0 {
            return Err(BAD_REQUEST);
        }
        Ok(Some(request))
    }
}

/// The path in what is asked for, which a client of a proxy writes with the host before it.
fn path(target: &str) -> Option<&str> {
    let from_host = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &target[7..]);
    let target = match from_host {
        Some(rest) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = target.split('?').next()?;
    match path {
        // A host and a query.
        "" if from_host.is_some() => Some("/"),
        // Of the server as a whole.
        "*" => Some(path),
        _ => path.starts_with('/').then_some(path),
    }
}

/// Whether the first line ends like one of a version that we do not speak.
fn has_other_version(input: &[u8]) -> bool {
    let line = input.trim_ascii_start().split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let word = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    word.strip_prefix(b"HTTP/").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

fn is_token(value: &[u8], token: &str) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = std::str::from_utf8(value.trim_ascii()).map_err(|_| BAD_REQUEST)?;
    // `parse` alone would allow a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_REQUEST);
    }
    digits.parse().map_err(|_| CONTENT_TOO_LARGE)
}
