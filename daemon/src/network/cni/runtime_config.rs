// SPDX-License-Identifier: Apache-2.0

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{super::quantity, PluginConf};
use crate::pods::spec::{DnsConfig, Pairs, PortMapping, Protocol};

/// What a pod wants of its network, offered to each plugin that declares the capability.
#[derive(Debug, Clone, Default)]
pub struct Wishes<'a> {
    /// `portMappings`.
    pub ports: &'a [PortMapping],
    /// `dns`.
    pub dns: Option<&'a DnsConfig>,
    /// `cgroupPath`.
    pub cgroup: &'a str,
    /// `io.kubernetes.cri.pod-annotations`, and `bandwidth` by two of them.
    pub annotations: Option<&'a Pairs>,
    /// `ipRanges`: the node's pod CIDRs.
    pub cidrs: &'a [String],
}

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// A bandwidth annotation that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {key} = {value:?}: must be bits a second from 1k to 1P, such as \"10M\"")]
pub struct BadBandwidth {
    key: &'static str,
    value: String,
}

impl Wishes<'_> {
    /// Every capability and its value; what was not asked for is left out.
    ///
    /// # Errors
    /// [`BadBandwidth`].
    pub fn to_json(&self) -> Result<Map<String, Value>, BadBandwidth> {
        let mut all = Map::new();
        let ports: Vec<Value> =
            self.ports.iter().filter(|port| port.host_port != 0).map(port_mapping).collect();
        if !ports.is_empty() {
            all.insert("portMappings".into(), ports.into());
        }
        if let Some(dns) = self.dns {
            let DnsConfig { servers, searches, options } = dns;
            let dns = json!({"servers": servers, "searches": searches, "options": options});
            all.insert("dns".into(), dns);
        }
        if !self.cgroup.is_empty() {
            all.insert("cgroupPath".into(), self.cgroup.into());
        }
        if let Some(annotations) = self.annotations {
            if !annotations.is_empty() {
                all.insert("io.kubernetes.cri.pod-annotations".into(), json!(annotations));
            }
            if let Some(limits) = bandwidth(annotations)? {
                all.insert("bandwidth".into(), limits);
            }
        }
        if !self.cidrs.is_empty() {
            // One range set for each family, so that a pod gets an address of each.
            let ranges: Vec<Value> =
                self.cidrs.iter().map(|cidr| json!([{"subnet": cidr}])).collect();
            all.insert("ipRanges".into(), ranges.into());
        }
        Ok(all)
    }
}

fn port_mapping(port: &PortMapping) -> Value {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let mut mapping = json!({
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": protocol,
    });
    if let Some(address) = port.host_ip.filter(|address| !matches_every_address(*address)) {
        mapping["hostIP"] = address.to_string().into();
    }
    mapping
}

/// portmap takes "no address" as all addresses of both families.
fn matches_every_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified(),
        IpAddr::V6(_) => false,
    }
}

fn bandwidth(annotations: &Pairs) -> Result<Option<Value>, BadBandwidth> {
    let rate = |key: &'static str| {
        let Some(value) = annotations.get(key) else { return Ok(None) };
        let bits = quantity::whole(value).filter(|bits| (1_000..=10u64.pow(15)).contains(bits));
        bits.map(Some).ok_or_else(|| BadBandwidth { key, value: value.clone() })
    };
    let (ingress, egress) = (rate(INGRESS)?, rate(EGRESS)?);
    if ingress.is_none() && egress.is_none() {
        return Ok(None);
    }
    // The plugin demands a burst with each rate and Kubernetes has no word for it. The value is
    // the one that pods get from other runtimes.
    let mut limits = Map::new();
    for (rate, names) in
        [(ingress, ["ingressRate", "ingressBurst"]), (egress, ["egressRate", "egressBurst"])]
    {
        if let Some(bits) = rate {
            limits.insert(names[0].into(), bits.into());
            limits.insert(names[1].into(), i32::MAX.into());
        }
    }
    Ok(Some(limits.into()))
}

/// The part of `offered` that the plugin declares, merged over a `runtimeConfig` it may bring.
pub(super) fn for_plugin(plugin: &PluginConf, offered: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = match plugin.json.get("runtimeConfig") {
        Some(Value::Object(own)) => own.clone(),
        _ => Map::new(),
    };
    let wanted = offered.iter().filter(|(name, _)| plugin.capabilities.contains(*name));
    merged.extend(wanted.map(|(name, value)| (name.clone(), value.clone())));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16, host_ip: Option<&str>) -> PortMapping {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip }
    }

    #[test]
    fn only_published_ports_are_passed_on() {
        let ports = [port(0, None), port(8080, Some("127.0.0.1")), port(81, Some("0.0.0.0"))];
        let all = Wishes { ports: &ports, ..Wishes::default() }.to_json().unwrap();
        let expected = json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
            {"hostPort": 81, "containerPort": 80, "protocol": "tcp"},
        ]);
        assert_eq!(all["portMappings"], expected);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn bandwidth_comes_from_the_two_annotations() {
        let annotations = Pairs::from([(INGRESS.to_owned(), "10M".to_owned())]);
        let wishes = Wishes { annotations: Some(&annotations), ..Wishes::default() };
        let all = wishes.to_json().unwrap();
        assert_eq!(all["bandwidth"]["ingressRate"], 10_000_000);
        assert_eq!(all["bandwidth"].get("egressRate"), None);
        let bad = Pairs::from([(EGRESS.to_owned(), "fast".to_owned())]);
        let text = Wishes { annotations: Some(&bad), ..Wishes::default() }.to_json().unwrap_err();
        assert!(text.to_string().contains("egress-bandwidth = \"fast\""));
    }

    #[test]
    fn a_plugin_gets_what_it_declares_and_no_more() {
        let plugin = json!({
            "type": "x", "capabilities": {"ipRanges": true}, "runtimeConfig": {"own": 1},
        });
        let plugin = PluginConf::from_json(plugin, "").unwrap();
        let cidrs = ["10.1.0.0/24".to_owned(), "fd00:1::/64".to_owned()];
        let wishes = Wishes { cidrs: &cidrs, cgroup: "/pods/a", ..Wishes::default() };
        let config = for_plugin(&plugin, &wishes.to_json().unwrap());
        let expected = json!({
            "own": 1, "ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
        });
        assert_eq!(Value::Object(config), expected);
    }
}
