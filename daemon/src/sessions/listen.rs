// SPDX-License-Identifier: Apache-2.0
//! Where a session waits for its client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use super::{Ports, SessionError};

/// Listens on a free port.
pub(super) fn listen(address: IpAddr, ports: Ports) -> Result<TcpListener, SessionError> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports.first..=ports.last {
        match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
        // Another port does not help an address that is not this host's.
        if last.kind() != io::ErrorKind::AddrInUse {
            break;
        }
    }
    let address = format!("{address} port {ports}");
    Err(SessionError::Listen { address, source: last })
}

/// The host and port that a client on this host connects to.
pub(super) fn reached_at(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_searched_for_a_free_port() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let first = taken.local_addr().unwrap().port();
        let only = Ports { first, last: first };
        let error = listen(Ipv4Addr::LOCALHOST.into(), only).unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1 port {first}")), "{error}");
        let more = Ports { first, last: first.saturating_add(50) };
        let found = listen(Ipv4Addr::LOCALHOST.into(), more).unwrap();
        assert_ne!(found.local_addr().unwrap().port(), first);
    }

    #[test]
    fn every_address_is_reached_over_loopback() {
        let reached = |text: &str| reached_at(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:5"), "127.0.0.1:5");
        assert_eq!(reached("[::]:5"), "[::1]:5");
        assert_eq!(reached("10.1.2.3:5"), "10.1.2.3:5");
    }
}
