//! How many requests a daemon answers: connections that stay open, each asking again as soon as it has its answer.
//!
//! The client is bare, because it runs on the same cores as the daemon that it measures.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// The token of a secret of 32 bytes 0x2a (docs/protocol.md §22.1).
pub const TOKEN: &str = "ACoqKioqKioqKioqKioqKioqKioqKioqKioqKioqKioq";
/// Connections that ask at the same time.
const CLIENTS: usize = 2;
/// How long each rate is measured.
const PERIOD: Duration = Duration::from_secs(3);

/// A connection that stays open.
pub struct Connection {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects to a port of this machine.
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Connection {
            stream: BufReader::with_capacity(64 * 1024, stream),
            body: Vec::new(),
        })
    }

    /// Asks for a path, reads the whole answer, and tells its status.
    pub fn get(&mut self, path: &str) -> io::Result<u16> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut status = None;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if status.is_none() {
                status = header.split(' ').nth(1).and_then(|code| code.parse().ok());
            } else if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Requests per second that the daemon at this port answers with 200.
pub fn per_second(port: u16, path: &str) -> f64 {
    // The first answers may pay for something that later ones have.
    ask_until(port, path, Instant::now() + PERIOD / 10);
    let begun = Instant::now();
    let answered: u32 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| ask_until(port, path, begun + PERIOD)))
            .collect();
        let counts = clients.into_iter().map(ScopedJoinHandle::join);
        counts.map(|count| count.expect("no panic")).sum()
    });
    f64::from(answered) / begun.elapsed().as_secs_f64()
}

fn ask_until(port: u16, path: &str, end: Instant) -> u32 {
    let mut connection = Connection::open(port).expect("it listens");
    let mut answered = 0;
    while Instant::now() < end {
        let status = connection.get(path).expect("an answer");
        assert_eq!(status, 200, "{path}");
        answered += 1;
    }
    answered
}
