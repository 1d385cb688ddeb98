// SPDX-License-Identifier: Apache-2.0
//! Decides how a client and a session talk, by the headers of the client's HTTP request. Pure.

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";
const VERSION: &str = "x-stream-protocol-version";
const ACCEPTED: &str = "x-accepted-stream-protocol-versions";
const FORWARD: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// What the client may ask for under its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Streams of a process.
    Streams,
    /// Connections to ports.
    Ports,
}

/// What both sides will speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// SPDY on the connection itself.
    Spdy(Status),
    /// WebSocket messages, each for one channel.
    Channels(Channels),
    /// SPDY whose bytes travel in WebSocket messages.
    Tunnel,
}

/// How the end of a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// As text, and nothing for success.
    Text,
    /// As a Kubernetes `Status` in JSON.
    Json,
}

/// A channel protocol over WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) status: Status,
    pub(super) coding: Coding,
    pub(super) half_close: HalfClose,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// A byte for the channel, then the bytes; binary messages.
    Bytes,
    /// A digit for the channel, then base64; text messages.
    Base64,
}

/// Whether a client can end its input and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HalfClose {
    Yes,
    No,
}

/// The answer to a request that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) speech: Speech,
    /// Headers of the answer `101 Switching Protocols`.
    pub(super) headers: HeaderMap,
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) text: String,
    pub(super) headers: HeaderMap,
}

impl Refusal {
    fn bad(text: impl Into<String>) -> Box<Self> {
        let (code, headers) = (StatusCode::BAD_REQUEST, HeaderMap::new());
        Box::new(Self { code, text: text.into(), headers })
    }

    /// Nothing that the client offers is spoken here.
    fn no_protocol(offered: &[String], spoken: &[(&'static str, Speech)]) -> Box<Self> {
        let mut headers = HeaderMap::new();
        for (name, _) in spoken.iter().filter(|(name, _)| !name.is_empty()) {
            headers.append(ACCEPTED, HeaderValue::from_static(name));
        }
        let text = format!("none of the protocols {offered:?} is spoken here");
        Box::new(Self { code: StatusCode::FORBIDDEN, text, headers })
    }
}

/// Decides what is spoken.
pub(super) fn agree(
    purpose: Purpose,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Agreed, Box<Refusal>> {
    if !tokens(headers, CONNECTION.as_str()).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::bad("an upgrade to SPDY/3.1 or WebSocket is needed"));
    }
    let wanted: Vec<&str> = tokens(headers, UPGRADE.as_str()).collect();
    if wanted.iter().any(|name| name.eq_ignore_ascii_case(WEBSOCKET)) {
        websocket(purpose, method, headers)
    } else if wanted.iter().any(|name| name.eq_ignore_ascii_case(SPDY)) {
        spdy(purpose, headers)
    } else {
        Err(Refusal::bad(format!("an upgrade to {wanted:?} is not possible")))
    }
}

fn spdy(purpose: Purpose, headers: &HeaderMap) -> Result<Agreed, Box<Refusal>> {
    let spoken: &[(&'static str, Speech)] = match purpose {
        Purpose::Ports => &[(FORWARD, Speech::Spdy(Status::Text))],
        Purpose::Streams => &[
            ("v5.channel.k8s.io", Speech::Spdy(Status::Json)),
            ("v4.channel.k8s.io", Speech::Spdy(Status::Json)),
            ("v3.channel.k8s.io", Speech::Spdy(Status::Text)),
            ("v2.channel.k8s.io", Speech::Spdy(Status::Text)),
            ("channel.k8s.io", Speech::Spdy(Status::Text)),
        ],
    };
    let offered: Vec<String> = tokens(headers, VERSION).map(str::to_owned).collect();
    let (name, speech) = match (choose(&offered, spoken), spoken.last()) {
        (Some((name, speech)), _) => (Some(name), speech),
        // A client that offers nothing means the oldest.
        (None, Some((_, oldest))) if offered.is_empty() => (None, *oldest),
        _ => return Err(Refusal::no_protocol(&offered, spoken)),
    };
    let mut headers = switching(SPDY);
    if let Some(name) = name {
        headers.insert(VERSION, HeaderValue::from_static(name));
    }
    Ok(Agreed { speech, headers })
}

fn websocket(
    purpose: Purpose,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Agreed, Box<Refusal>> {
    let channels =
        |status, coding, half_close| Speech::Channels(Channels { status, coding, half_close });
    let spoken: &[(&'static str, Speech)] = match purpose {
        Purpose::Ports => &[(TUNNEL, Speech::Tunnel)],
        Purpose::Streams => &[
            ("v5.channel.k8s.io", channels(Status::Json, Coding::Bytes, HalfClose::Yes)),
            ("v4.channel.k8s.io", channels(Status::Json, Coding::Bytes, HalfClose::No)),
            ("v4.base64.channel.k8s.io", channels(Status::Json, Coding::Base64, HalfClose::No)),
            ("base64.channel.k8s.io", channels(Status::Text, Coding::Base64, HalfClose::No)),
            ("channel.k8s.io", channels(Status::Text, Coding::Bytes, HalfClose::No)),
            ("", channels(Status::Text, Coding::Bytes, HalfClose::No)),
        ],
    };
    if method != Method::GET {
        return Err(Refusal::bad(format!("a WebSocket begins with GET, not {method}")));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        return Err(Refusal::bad("WebSocket version 13 is needed"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Refusal::bad("Sec-WebSocket-Key is missing"))?;
    let mut offered: Vec<String> =
        tokens(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).map(str::to_owned).collect();
    if offered.is_empty() {
        offered.push(String::new());
    }
    let chosen = choose(&offered, spoken);
    let (name, speech) = chosen.ok_or_else(|| Refusal::no_protocol(&offered, spoken))?;
    let mut headers = switching(WEBSOCKET);
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::try_from(accept).map_err(|e| Refusal::bad(e.to_string()))?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !name.is_empty() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok(Agreed { speech, headers })
}

fn switching(to: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(to));
    headers
}

/// The first that the client offers among those that are spoken here.
fn choose(offered: &[String], spoken: &[(&'static str, Speech)]) -> Option<(&'static str, Speech)> {
    offered.iter().find_map(|name| spoken.iter().find(|(known, _)| known == name).copied())
}

/// The values of a header that may be written on one line with commas or on several.
fn tokens<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut map = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    fn spdy_with(versions: &[&str]) -> HeaderMap {
        let mut all = headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
        for version in versions {
            all.append(VERSION, HeaderValue::from_str(version).unwrap());
        }
        all
    }

    fn websocket_with(protocols: &str) -> HeaderMap {
        headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ])
    }

    #[test]
    fn the_first_offer_that_is_spoken_here_is_taken() {
        let offer = spdy_with(&["v9.channel.k8s.io", "v5.channel.k8s.io, v4.channel.k8s.io"]);
        let agreed = agree(Purpose::Streams, &Method::POST, &offer).unwrap();
        assert_eq!(agreed.speech, Speech::Spdy(Status::Json));
        assert_eq!(agreed.headers[VERSION], "v5.channel.k8s.io");
        assert_eq!(agreed.headers[UPGRADE], "SPDY/3.1");
    }

    #[test]
    fn a_client_without_an_offer_gets_the_oldest_and_no_name_for_it() {
        let agreed = agree(Purpose::Streams, &Method::POST, &spdy_with(&[])).unwrap();
        assert_eq!(agreed.speech, Speech::Spdy(Status::Text));
        assert!(!agreed.headers.contains_key(VERSION));
    }

    #[test]
    fn what_nobody_speaks_is_forbidden_and_told_what_is_spoken() {
        let refusal =
            agree(Purpose::Ports, &Method::POST, &spdy_with(&["v4.channel.k8s.io"])).unwrap_err();
        assert_eq!(refusal.code, StatusCode::FORBIDDEN);
        assert_eq!(refusal.headers[ACCEPTED], FORWARD);
    }

    #[test]
    fn a_websocket_is_accepted_as_the_rfc_says() {
        let offer = websocket_with("v5.channel.k8s.io");
        let agreed = agree(Purpose::Streams, &Method::GET, &offer).unwrap();
        let Speech::Channels(channels) = agreed.speech else { panic!("{agreed:?}") };
        assert_eq!(channels.half_close, HalfClose::Yes);
        // RFC 6455, section 1.3.
        assert_eq!(agreed.headers[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(agreed.headers[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }

    #[test]
    fn ports_are_tunnelled_over_websockets() {
        let agreed = agree(Purpose::Ports, &Method::GET, &websocket_with(TUNNEL)).unwrap();
        assert_eq!(agreed.speech, Speech::Tunnel);
    }

    #[test]
    fn a_request_that_is_no_upgrade_is_bad() {
        for offer in [headers(&[]), headers(&[("connection", "upgrade"), ("upgrade", "h2c")])] {
            let refusal = agree(Purpose::Streams, &Method::GET, &offer).unwrap_err();
            assert_eq!(refusal.code, StatusCode::BAD_REQUEST);
        }
        let post = agree(Purpose::Streams, &Method::POST, &websocket_with("v5.channel.k8s.io"));
        assert_eq!(post.unwrap_err().code, StatusCode::BAD_REQUEST);
    }
}
