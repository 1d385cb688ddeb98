// SPDX-License-Identifier: Apache-2.0
//! Which two streams make one forwarded connection. Pure.

use std::collections::{HashMap, hash_map::Entry};

use crate::sessions::spdy::{Headers, StreamId};

/// Most streams that may wait for their other half.
const WAITING: usize = 512;

/// Two streams for one connection to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) error: StreamId,
    pub(super) data: StreamId,
    pub(super) port: u16,
}

/// What a new stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// One half of a connection.
    Half,
    /// The second half.
    Pair(Pair),
    /// None: its headers make no sense, or too many halves wait already.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Half {
    kind: Kind,
    stream: StreamId,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Error,
    Data,
}

/// Streams that wait for their other half, by request.
#[derive(Debug, Default)]
pub(super) struct Pairs(HashMap<String, Half>);

impl Pairs {
    /// Sorts in a stream that the client opens.
    pub(super) fn open(&mut self, stream: StreamId, headers: &Headers) -> Opened {
        let Some((request, new)) = half(stream, headers) else { return Opened::Refused };
        let room = self.0.len() < WAITING;
        match self.0.entry(request) {
            Entry::Vacant(place) if room => {
                place.insert(new);
                Opened::Half
            }
            Entry::Vacant(_) => Opened::Refused,
            Entry::Occupied(place) => {
                let old = *place.get();
                if old.kind == new.kind || old.port != new.port {
                    return Opened::Refused;
                }
                place.remove();
                let (error, data) = match new.kind {
                    Kind::Error => (new.stream, old.stream),
                    Kind::Data => (old.stream, new.stream),
                };
                Opened::Pair(Pair { error, data, port: new.port })
            }
        }
    }

    /// Forgets a stream that the client gives up.
    pub(super) fn give_up(&mut self, stream: StreamId) {
        self.0.retain(|_, half| half.stream != stream);
    }
}

fn half(stream: StreamId, headers: &Headers) -> Option<(String, Half)> {
    let kind = match headers.get("streamtype")? {
        "error" => Kind::Error,
        "data" => Kind::Data,
        _ => return None,
    };
    let port = headers.get("port")?.parse().ok().filter(|port| *port != 0)?;
    let request = match (headers.get("requestid"), kind) {
        (Some(id), _) => format!("id {id}"),
        // Old clients name no request; they open the error stream, and then the data stream.
        (None, Kind::Error) => format!("stream {stream}"),
        (None, Kind::Data) => format!("stream {}", stream.checked_sub(2)?),
    };
    Some((request, Half { kind, stream, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str, port: &str, id: Option<&str>) -> Headers {
        let mut pairs = vec![("streamtype", kind), ("port", port)];
        pairs.extend(id.map(|id| ("requestid", id)));
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn halves_meet_by_their_request_in_any_order() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.open(1, &headers("error", "80", Some("0"))), Opened::Half);
        assert_eq!(pairs.open(3, &headers("data", "81", Some("1"))), Opened::Half);
        let first = Pair { error: 1, data: 5, port: 80 };
        assert_eq!(pairs.open(5, &headers("data", "80", Some("0"))), Opened::Pair(first));
        let second = Pair { error: 7, data: 3, port: 81 };
        assert_eq!(pairs.open(7, &headers("error", "81", Some("1"))), Opened::Pair(second));
        assert!(pairs.0.is_empty());
    }

    #[test]
    fn old_clients_are_paired_by_the_order_of_their_streams() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.open(9, &headers("error", "80", None)), Opened::Half);
        let pair = Pair { error: 9, data: 11, port: 80 };
        assert_eq!(pairs.open(11, &headers("data", "80", None)), Opened::Pair(pair));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut pairs = Pairs::default();
        for (kind, port) in [("error", "0"), ("error", "x"), ("stdin", "80"), ("data", "65536")] {
            assert_eq!(pairs.open(1, &headers(kind, port, Some("0"))), Opened::Refused);
        }
        assert_eq!(pairs.open(1, &headers("error", "80", Some("0"))), Opened::Half);
        assert_eq!(pairs.open(3, &headers("error", "80", Some("0"))), Opened::Refused);
        assert_eq!(pairs.open(5, &headers("data", "81", Some("0"))), Opened::Refused);
        pairs.give_up(1);
        assert_eq!(pairs.open(7, &headers("data", "81", Some("0"))), Opened::Half);
    }

    #[test]
    fn halves_without_a_second_one_do_not_pile_up() {
        let mut pairs = Pairs::default();
        for n in 0..2000 {
            pairs.open(2 * n + 1, &headers("error", "80", Some(&n.to_string())));
        }
        assert_eq!(pairs.0.len(), WAITING);
    }
}
