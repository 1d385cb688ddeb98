// SPDX-License-Identifier: Apache-2.0
//! The registry's HTTP: one request per connection, GET and HEAD.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Access, Store, lock};

/// What the token service gives out.
const TOKEN: &str = "conformance-token";

/// The first byte of a TLS client.
const TLS_HANDSHAKE: u8 = 22;

struct Request {
    method: String,
    path: String,
    /// Names in lower case.
    headers: HashMap<String, String>,
}

struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

pub(super) async fn serve(listener: TcpListener, address: String, store: Arc<Mutex<Store>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (address, store) = (address.clone(), store.clone());
        // A client that goes away in the middle is its own affair.
        tokio::spawn(async move { exchange(stream, &address, &store).await.ok() });
    }
}

async fn exchange(stream: TcpStream, address: &str, store: &Mutex<Store>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if stream.fill_buf().await?.first() == Some(&TLS_HANDSHAKE) {
        // Clients that try TLS first take this as the sign to speak plain HTTP.
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nplain HTTP here\n").await;
    }
    let Some(request) = read(&mut stream).await? else { return Ok(()) };
    let response = answer(&request, address, &mut lock(store));
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", response.body.len()));
    stream.write_all(head.as_bytes()).await?;
    if request.method != "HEAD" {
        stream.write_all(&response.body).await?;
    }
    stream.shutdown().await
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            return Ok(Some(Request { method, path, headers }));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
}

fn answer(request: &Request, address: &str, store: &mut Store) -> Response {
    store.requests.push(format!("{} {}", request.method, request.path));
    let given = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
    if request.path.starts_with("/token") {
        return token(given, &store.access);
    }
    let (demanded, challenge) = match &store.access {
        Access::Anyone => (None, String::new()),
        Access::Basic(user) => (Some(basic(user)), "Basic realm=\"conformance\"".to_owned()),
        Access::Bearer(_) => (
            Some(format!("Bearer {TOKEN}")),
            format!("Bearer realm=\"http://{address}/token\",service=\"conformance\""),
        ),
    };
    if demanded.is_some_and(|demanded| demanded != given) {
        let mut response = plain("401 Unauthorized", "UNAUTHORIZED");
        response.headers.push(("WWW-Authenticate", challenge));
        return response;
    }
    let path = request.path.split('?').next().unwrap_or_default();
    match path.strip_prefix("/v2/") {
        Some("") => plain("200 OK", ""),
        Some(path) => content(path, store).unwrap_or_else(|| not_found(path)),
        None => plain("404 Not Found", "UNSUPPORTED"),
    }
}

fn content(path: &str, store: &Store) -> Option<Response> {
    let (media_type, digest) = if let Some((repository, name)) = path.split_once("/manifests/") {
        let sign = if name.contains(':') { '@' } else { ':' };
        store.manifests.get(&format!("{repository}{sign}{name}"))?.clone()
    } else {
        let (_, digest) = path.split_once("/blobs/")?;
        ("application/octet-stream".to_owned(), digest.to_owned())
    };
    let body = store.blobs.get(&digest)?.clone();
    let headers = vec![("Content-Type", media_type), ("Docker-Content-Digest", digest)];
    Some(Response { status: "200 OK", headers, body })
}

fn token(given: &str, access: &Access) -> Response {
    match access {
        Access::Bearer(user) if given == basic(user) => {
            plain("200 OK", &format!("{{\"token\":\"{TOKEN}\",\"expires_in\":300}}"))
        }
        _ => plain("401 Unauthorized", "UNAUTHORIZED"),
    }
}

fn not_found(path: &str) -> Response {
    let kind = if path.contains("/manifests/") { "MANIFEST_UNKNOWN" } else { "BLOB_UNKNOWN" };
    plain("404 Not Found", kind)
}

fn basic(user: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
}

fn plain(status: &'static str, text: &str) -> Response {
    let body = match status {
        "200 OK" => text.to_owned(),
        _ => format!("{{\"errors\":[{{\"code\":\"{text}\",\"message\":\"{text}\"}}]}}"),
    };
    let headers = vec![("Content-Type", "application/json".to_owned())];
    Response { status, headers, body: body.into_bytes() }
}
