//! A web crawler: a group of coroutines that fetch pages, so many at a time and so many in a second.
//!
//! ```text
//! cargo run --release --example crawler
//! ```
//!
//! The web is a server on loopback, whose pages link to each other, and now and then to one that is not there. The crawler is
//! a `Group` in a scope: its limit says how many fetch at a time, a `Ticker` that all of them wait for how many in a
//! second, and the first error would end them all. Which pages it has seen only its body knows, to which they send what
//! they find.

use gort::channel;
use gort::context::Context;
use gort::group::Group;
use gort::net::{TcpListener, TcpStream};
use gort::time::Ticker;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The site has so many pages.
const PAGES: usize = 60;
/// The crawler has so many connections at a time, and begins one in each so much.
const AT_A_TIME: usize = 6;
const PERIOD: Duration = Duration::from_millis(2);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> io::Result<()> {
    gort::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let site = Site::default();
        let start = Instant::now();
        let crawl = gort::race!(|| serve(&listener, &site).map(|()| unreachable!("it serves on")), || crawl(address))?;
        let (elapsed, most) = (start.elapsed(), site.most.load(Relaxed));
        println!(
            "crawler: {} pages and {} dead links in {elapsed:.1?}, at most {most} at a time",
            crawl.pages.len(),
            crawl.dead.len()
        );
        assert_eq!(crawl.pages, (0..PAGES).map(path).collect(), "it has found every page");
        assert_eq!(crawl.dead, (0..PAGES).filter(|n| n % 10 == 7).map(|n| format!("/gone/{n}")).collect());
        let fetched = PAGES + crawl.dead.len();
        assert_eq!(site.served.load(Relaxed), fetched, "it has fetched each once");
        assert!(most <= AT_A_TIME, "{most} at a time");
        // The first tick comes after a period.
        assert!(elapsed >= PERIOD * (fetched as u32 - 1), "faster than allowed");
        Ok(())
    })
}

fn path(page: usize) -> String {
    format!("/page/{page}")
}

/// What the crawler has found, by their paths.
#[derive(Default)]
struct Crawl {
    pages: BTreeSet<String>,
    dead: BTreeSet<String>,
}

fn crawl(address: SocketAddr) -> io::Result<Crawl> {
    let (ctx, _cancel) = Context::background().with_timeout(PATIENCE);
    let ticker = Ticker::new(PERIOD);
    let mut crawl = Crawl::default();
    Group::<Error>::with_context(&ctx).limit(AT_A_TIME).scope(|group| {
        let (found, pages) = channel::unbounded();
        let mut seen = BTreeSet::from([path(0)]);
        let mut to_do = vec![path(0)];
        let mut fetching = 0;
        loop {
            for path in to_do.drain(..) {
                fetching += 1;
                let (found, ticker) = (found.clone(), &ticker);
                // Waits while so many fetch already.
                group.go(move || {
                    ticker.tick();
                    let links = fetch(address, &path)?;
                    found.send((path, links)).map_err(|_| Error::other("nobody wants it"))
                });
            }
            if fetching == 0 {
                return Ok(());
            }
            let (path, links) = pages.recv().expect("we have a sender ourselves");
            fetching -= 1;
            match links {
                None => _ = crawl.dead.insert(path),
                Some(links) => {
                    crawl.pages.insert(path);
                    to_do.extend(links.into_iter().filter(|link| seen.insert(link.clone())));
                }
            }
        }
    })?;
    Ok(crawl)
}

/// The links of a page; None if there is no such page.
fn fetch(address: SocketAddr, path: &str) -> io::Result<Option<Vec<String>>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| Error::other("half an answer"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(Some(body.split('"').skip(1).step_by(2).map(String::from).collect())),
        Some("404") => Ok(None),
        _ => Err(Error::other(format!("{path}: {head}"))),
    }
}

/// What the server counts.
#[derive(Default)]
struct Site {
    served: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

fn serve(listener: &TcpListener, site: &Site) -> io::Result<()> {
    gort::scope(|s| {
        loop {
            let (stream, _) = listener.accept()?;
            drop(s.go(move || {
                site.most.fetch_max(site.now.fetch_add(1, Relaxed) + 1, Relaxed);
                if let Err(error) = answer(stream, site) {
                    eprintln!("crawler: the server: {error}");
                }
            }));
        }
    })
}

fn answer(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(&mut stream);
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    // As a server with something to do would.
    gort::time::sleep(Duration::from_millis(3));
    let page =
        request.split(' ').nth(1).and_then(|path| path.strip_prefix("/page/")).and_then(|n| n.parse::<usize>().ok());
    let answer = match page.filter(|page| *page < PAGES) {
        Some(page) => {
            let mut body: String = [2 * page + 1, 2 * page + 2, page / 3]
                .iter()
                .filter(|link| **link < PAGES)
                .map(|link| format!("<a href=\"{}\">{link}</a>\n", path(*link)))
                .collect();
            if page % 10 == 7 {
                body += &format!("<a href=\"/gone/{page}\">gone</a>\n");
            }
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
    };
    site.served.fetch_add(1, Relaxed);
    // Before the client knows that it is over, and begins another.
    site.now.fetch_sub(1, Relaxed);
    stream.write_all(answer.as_bytes())
}
