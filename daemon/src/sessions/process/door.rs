// SPDX-License-Identifier: Apache-2.0
//! Waits for the one client that knows the URL. All others are told that there is nothing.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    handshake::{Agreed, Purpose, Speech, agree},
    tls,
    wire::{Line, Wire},
};
use crate::sessions::ticket::{Ticket, TlsFiles};

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most connections that are listened to at once.
const CROWD: usize = 16;
/// Longest head of a request, bytes.
const HEAD: usize = 16 << 10;

/// The client.
pub(super) struct Admitted {
    pub(super) wire: Wire,
    pub(super) line: Line,
    pub(super) speech: Speech,
}

/// Whom to let in.
#[derive(Debug, Clone)]
struct Rule {
    path: String,
    purpose: Purpose,
    tls: Option<TlsFiles>,
    /// Set for the first that has the right path; the URL is good for one.
    taken: Arc<AtomicBool>,
}

/// Waits for the client. `None` when it has not come in time.
pub(super) async fn admit(
    listener: TcpListener,
    ticket: &Ticket,
    purpose: Purpose,
) -> Option<Admitted> {
    let until = Instant::now() + ticket.unused;
    let rule =
        Rule { path: ticket.path.clone(), purpose, tls: ticket.tls.clone(), taken: Arc::default() };
    let mut talks = JoinSet::new();
    loop {
        let next = async {
            tokio::select! {
                accepted = listener.accept(), if talks.len() < CROWD => Next::Came(accepted),
                Some(done) = talks.join_next() => Next::Told(done.ok().flatten()),
            }
        };
        match timeout_at(until, next).await.ok()? {
            Next::Came(Ok((stream, _))) => {
                let talk = converse(stream, rule.clone());
                talks.spawn(async { timeout(PATIENCE, talk).await.ok().flatten() });
            }
            // Out of descriptors, or a client that left the queue; the next may do better.
            Next::Came(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Next::Told(Some(admitted)) => return Some(admitted),
            Next::Told(None) => {}
        }
    }
}

enum Next {
    Came(io::Result<(TcpStream, std::net::SocketAddr)>),
    Told(Option<Admitted>),
}

/// Speaks HTTP with one connection until it ends or is let in.
async fn converse(stream: TcpStream, rule: Rule) -> Option<Admitted> {
    let line = Line::of(&stream).ok()?;
    let wire: Wire = match &rule.tls {
        None => Box::new(stream),
        Some(files) => match tls::acceptor(files) {
            Ok(acceptor) => Box::new(acceptor.accept(stream).await.ok()?),
            Err(error) => {
                super::say(&format!("no TLS: {}", crate::cri::status::chain(&error)));
                return None;
            }
        },
    };
    let mine = Arc::new(Mutex::new(None));
    let answer = |request: Request<Incoming>| {
        let answer = rule.answer(request, &mine);
        async { Ok::<_, Infallible>(answer) }
    };
    let served = http1::Builder::new()
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(wire), service_fn(answer))
        .with_upgrades()
        .await;
    served.ok()?;
    let (upgraded, speech) = mine.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let wire = Box::new(TokioIo::new(upgraded.await.ok()?));
    Some(Admitted { wire, line, speech })
}

type Slot = Mutex<Option<(OnUpgrade, Speech)>>;

impl Rule {
    fn answer(&self, mut request: Request<Incoming>, mine: &Slot) -> Response<String> {
        if self.taken.load(Ordering::Relaxed) || !same(request.uri().path(), &self.path) {
            return said(StatusCode::NOT_FOUND, "no such session\n".into());
        }
        match agree(self.purpose, request.method(), request.headers()) {
            Ok(Agreed { speech, headers }) => {
                let mut answer = said(StatusCode::SWITCHING_PROTOCOLS, String::new());
                answer.headers_mut().extend(headers);
                *mine.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((on(&mut request), speech));
                self.taken.store(true, Ordering::Relaxed);
                answer
            }
            Err(refusal) => {
                let mut answer = said(refusal.code, refusal.text + "\n");
                answer.headers_mut().extend(refusal.headers);
                answer
            }
        }
    }
}

fn said(code: StatusCode, text: String) -> Response<String> {
    let mut answer = Response::new(text);
    *answer.status_mut() = code;
    answer
}

/// Compares without telling by the time it takes how much is right.
fn same(a: &str, b: &str) -> bool {
    let differs = a.bytes().zip(b.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
    a.len() == b.len() && differs == 0
}
