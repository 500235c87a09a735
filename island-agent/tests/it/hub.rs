//! A stand-in for a model hub, on loopback, that can be told to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// How the hub answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// As a hub does: a redirect to the file, with a commit and an etag.
    Good,
    /// Closes the connection half-way through the file.
    Cut,
    /// Serves as many other bytes.
    OtherBytes,
    /// Says that the file has another size.
    OtherSize,
}

/// Serves `file` under any path; returns the endpoint. Ends with the process.
pub(crate) fn serve(file: Vec<u8>, manners: Manners) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let file = Arc::new(file);
    let base = endpoint.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (file, base) = (Arc::clone(&file), base.clone());
            thread::spawn(move || answer(stream, &file, &base, manners));
        }
    });
    endpoint
}

/// Answers one request and closes; a client that goes away ends it too.
fn answer(mut stream: TcpStream, file: &[u8], base: &str, manners: Manners) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let path = request.split(' ').nth(1)?.to_owned();
    let mut range = String::new();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.to_owned();
        }
    }
    if !path.starts_with("/files/") {
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {base}/files/weights\r\nX-Repo-Commit: {}\r\n\
             X-Linked-Etag: \"abc\"\r\nETag: \"abc\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "c".repeat(40)
        );
        return stream.write_all(head.as_bytes()).ok();
    }
    let size = match manners {
        Manners::OtherSize => file.len() + 1,
        Manners::Good | Manners::Cut | Manners::OtherBytes => file.len(),
    };
    let (start, end) = range.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let last = end.parse().unwrap_or(file.len() - 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nETag: \"abc\"\r\n\
         Content-Range: bytes {start}-{last}/{size}\r\nConnection: close\r\n\r\n",
        last + 1 - start
    );
    stream.write_all(head.as_bytes()).ok()?;
    let body = &file[start..=last];
    match manners {
        Manners::Cut if body.len() > 1 => stream.write_all(&body[..body.len() >> 1]).ok(),
        Manners::OtherBytes => stream.write_all(&vec![b'x'; body.len()]).ok(),
        Manners::Good | Manners::Cut | Manners::OtherSize => stream.write_all(body).ok(),
    }
}
