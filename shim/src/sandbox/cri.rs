// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;

use protobuf::{Message, UnknownValueRef, well_known_types::empty::Empty};

/// The few fields of a CRI `PodSandboxConfig` that make namespaces and files. The message is read field by
/// field: the whole of CRI would outweigh the rest of the shim.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) hostname: String,
    pub(super) dns: Dns,
    pub(super) cgroup_parent: Option<String>,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) pid: Mode,
    pub(super) ipc: Mode,
    pub(super) network: Mode,
}

/// CRI's `DNSConfig`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Dns {
    pub(super) servers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<String>,
}

/// CRI's `NamespaceMode`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Pod,
    Container,
    Node,
}

impl Config {
    /// Reads what is there; what cannot be read is as if it were absent.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let pod = Fields::of(bytes);
        let linux = pod.message(8);
        let options = linux.message(2).message(1);
        let dns = pod.message(4);
        Self {
            hostname: pod.text(2),
            dns: Dns { servers: dns.texts(1), searches: dns.texts(2), options: dns.texts(3) },
            cgroup_parent: Some(linux.text(1)).filter(|c| !c.is_empty()),
            sysctls: linux.table(3),
            network: options.mode(1),
            pid: options.mode(2),
            ipc: options.mode(3),
        }
    }
}

/// A message whose every field is unknown.
struct Fields(Empty);

impl Fields {
    fn of(bytes: &[u8]) -> Self {
        Self(Empty::parse_from_bytes(bytes).unwrap_or_default())
    }

    fn bytes(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        let fields = self.0.special_fields.unknown_fields().iter();
        fields.filter(move |(n, _)| *n == number).filter_map(|(_, value)| match value {
            UnknownValueRef::LengthDelimited(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn message(&self, number: u32) -> Self {
        Self::of(self.bytes(number).last().unwrap_or_default())
    }

    fn text(&self, number: u32) -> String {
        String::from_utf8_lossy(self.bytes(number).last().unwrap_or_default()).into_owned()
    }

    fn texts(&self, number: u32) -> Vec<String> {
        self.bytes(number).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn table(&self, number: u32) -> BTreeMap<String, String> {
        let entries = self.bytes(number).map(Self::of);
        entries.map(|entry| (entry.text(1), entry.text(2))).collect()
    }

    fn mode(&self, number: u32) -> Mode {
        match self.0.special_fields.unknown_fields().get(number) {
            Some(UnknownValueRef::Varint(1)) => Mode::Container,
            Some(UnknownValueRef::Varint(2)) => Mode::Node,
            _ => Mode::Pod,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    #[test]
    fn what_makes_namespaces_is_read_from_the_wire() {
        let options = [1 << 3, 2, 2 << 3, 1];
        let context = field(1, &options);
        let sysctl = [field(1, b"kernel.sem"), field(2, b"1 2 3 4")].concat();
        let linux = [field(1, b"/pod"), field(2, &context), field(3, &sysctl)].concat();
        let dns = [field(1, b"10.0.0.1"), field(1, b"10.0.0.2"), field(3, b"ndots:5")].concat();
        let pod = [field(2, b"web-0"), field(4, &dns), field(8, &linux)].concat();
        let config = Config::parse(&pod);
        assert_eq!(config.hostname, "web-0");
        assert_eq!(config.dns.servers, ["10.0.0.1", "10.0.0.2"]);
        assert_eq!((config.dns.searches.len(), config.dns.options.len()), (0, 1));
        assert_eq!(config.cgroup_parent.as_deref(), Some("/pod"));
        assert_eq!(config.sysctls["kernel.sem"], "1 2 3 4");
        assert_eq!(
            (config.network, config.pid, config.ipc),
            (Mode::Node, Mode::Container, Mode::Pod)
        );
        assert_eq!(Config::parse(b""), Config::default());
    }
}
