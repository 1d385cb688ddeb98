// SPDX-License-Identifier: Apache-2.0

use std::{fs, io, path::PathBuf, thread};

use crate::network::netns;

/// Interface that Kubernetes takes as a pod's default.
const DEFAULT: &str = "eth0";
/// Enough for reading a file.
const STACK: usize = 64 << 10;

/// Counters of a network interface, cumulative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Its name.
    pub name: String,
    /// Traffic into the pod.
    pub received: Traffic,
    /// Traffic out of the pod.
    pub sent: Traffic,
}

/// Traffic in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were in error.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// Reads the counters in each of the pinned network namespaces: one result for each path, an
/// error for one that is gone. Loopback is left out; `eth0` comes first.
///
/// A thread of its own visits the namespaces one by one and ends then.
///
/// # Errors
/// When the thread cannot be started.
pub fn read_interfaces(pins: Vec<PathBuf>) -> io::Result<Vec<io::Result<Vec<InterfaceCounters>>>> {
    if pins.is_empty() {
        return Ok(Vec::new());
    }
    let visit = move || {
        let one = |pin: &PathBuf| {
            netns::enter(pin)?;
            Ok(parse(&fs::read_to_string("/proc/thread-self/net/dev")?))
        };
        pins.iter().map(one).collect()
    };
    let thread = thread::Builder::new().name("netstat".into()).stack_size(STACK).spawn(visit)?;
    thread.join().map_err(|_| io::Error::other("reading network counters panicked"))
}

/// Lines of `/proc/net/dev`: a name, a colon, eight counters of received and eight of sent.
fn parse(text: &str) -> Vec<InterfaceCounters> {
    let mut all: Vec<InterfaceCounters> = text.lines().filter_map(interface).collect();
    all.retain(|interface| interface.name != "lo");
    all.sort_by(|a, b| (a.name != DEFAULT, &a.name).cmp(&(b.name != DEFAULT, &b.name)));
    all
}

fn interface(line: &str) -> Option<InterfaceCounters> {
    // The name may hold a colon itself (an alias); the counters do not.
    let (name, counters) = line.rsplit_once(':')?;
    let counters: Vec<u64> = counters.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let traffic = |at: usize| {
        let [bytes, packets, errors, dropped] = *counters.get(at..at + 4)? else { return None };
        Some(Traffic { bytes, packets, errors, dropped })
    };
    Some(InterfaceCounters {
        name: name.trim().to_owned(),
        received: traffic(0)?,
        sent: traffic(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  net1:       5       1    0    0    0     0          0         0        6       1    0    0    0     0       0          0
  eth0:    1234      12    3    4    0     0          0         0     5678      56    7    8    0     0       0          0
";

    #[test]
    fn the_default_interface_comes_first_and_loopback_not_at_all() {
        let found = parse(TEXT);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "eth0");
        let received = Traffic { bytes: 1234, packets: 12, errors: 3, dropped: 4 };
        let sent = Traffic { bytes: 5678, packets: 56, errors: 7, dropped: 8 };
        assert_eq!((found[0].received, found[0].sent), (received, sent));
        assert_eq!(found[1].name, "net1");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~\n]{0,300}") {
            let _ = parse(&text);
        }
    }

    #[tokio::test]
    async fn counters_are_those_of_the_namespace() {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        let dir = tempfile::Builder::new().prefix("net-stat-").tempdir().unwrap();
        let net = dir.path().join("net");
        netns::create(netns::Pins { net: net.clone(), user: None }).await.unwrap();
        let made = std::process::Command::new("nsenter")
            .arg(format!("--net={}", net.display()))
            .args(["ip", "link", "add", "eth0", "type", "bridge"])
            .status();
        let found = read_interfaces(vec![net.clone(), dir.path().join("gone")]).unwrap();
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(own, fs::read_link("/proc/self/ns/net").unwrap(), "this thread moved");
        netns::remove(net).await.unwrap();
        assert!(made.unwrap().success());
        let names: Vec<_> = found[0].as_ref().unwrap().iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["eth0"]);
        assert!(found[1].is_err());
    }
}
