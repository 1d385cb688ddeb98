// SPDX-License-Identifier: Apache-2.0
//! A registry that does wrong what the test wants it to.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

#[derive(Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Bytes of the body after which the connection breaks, if less than all.
    pub(super) cut: Option<usize>,
    /// Say nothing for so long before the cut or the end.
    pub(super) hang: Option<Duration>,
}

impl Answer {
    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(super) struct FakeRegistry {
    pub(super) host: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl FakeRegistry {
    /// Answers each request by `answer`, on threads that end with the test process.
    pub(super) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, log_in_thread) = (Arc::new(answer), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log_in_thread));
                std::thread::spawn(move || {
                    let _ = serve(stream, &*answer, &log);
                });
            }
        });
        Self { host, log }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &(impl Fn(&Asked) -> Answer + ?Sized),
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: BTreeMap::new(),
        body: String::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    if let Some(length) = asked.headers.get("content-length").and_then(|v| v.parse().ok()) {
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body)?;
        asked.body = String::from_utf8_lossy(&body).into_owned();
    }
    log.lock().unwrap().push(asked.clone());
    let answer = answer(&asked);
    write!(stream, "HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status)?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "content-length: {}\r\n\r\n", answer.body.len())?;
    let length = answer.cut.unwrap_or(answer.body.len()).min(answer.body.len());
    stream.write_all(&answer.body[..length])?;
    stream.flush()?;
    if let Some(hang) = answer.hang {
        std::thread::sleep(hang);
    }
    Ok(())
}
