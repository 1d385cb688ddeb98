// SPDX-License-Identifier: Apache-2.0

use std::{io::Read, net::IpAddr, process::Command, time::Instant};

use serde_json::json;

use super::*;
use crate::pods::spec::{PortMapping, Protocol};

/// A bridge network in a subnet of its own; the bridge goes at the end.
struct Bridge(&'static str);

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.0]).output();
    }
}

fn conflist(dir: &Path, bridge: &Bridge, third: u8, masquerade: bool) -> String {
    let ranges = json!([
        [{"subnet": format!("10.99.{third}.0/24")}],
        [{"subnet": format!("fd00:99:{third}::/64")}],
    ]);
    json!({
        "cniVersion": "1.0.0",
        "name": bridge.0,
        "plugins": [
            {
                "type": "bridge", "bridge": bridge.0, "isGateway": true, "ipMasq": masquerade,
                "ipam": {
                    "type": "host-local", "dataDir": dir.join("ipam"), "ranges": ranges,
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
    .to_string()
}

async fn fixture(bridge: &Bridge, third: u8, masquerade: bool) -> Fixture {
    assert!(
        Path::new(PLUGINS).join("bridge").exists(),
        "this test needs the package containernetworking-plugins"
    );
    let fixture = Fixture::new("").await;
    let text = conflist(fixture.dir.path(), bridge, third, masquerade);
    fs::write(fixture.path("conf/10.conflist"), text).unwrap();
    fixture
}

fn leases(fixture: &Fixture, bridge: &Bridge) -> Vec<String> {
    let Ok(entries) = fs::read_dir(fixture.path("ipam").join(bridge.0)) else { return Vec::new() };
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("10.") || name.starts_with("fd00")).collect()
}

fn iptables_mentions(pod: &SandboxId) -> bool {
    ["iptables-save", "ip6tables-save"].iter().any(|program| {
        let output = Command::new(program).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(pod.as_str())
    })
}

#[tokio::test]
async fn a_pod_gets_an_address_of_each_family_and_gives_both_back() {
    let bridge = Bridge("cnet241");
    let fixture = fixture(&bridge, 241, false).await;
    let (network, pod) = (&fixture.network, pod("dual-stack"));
    let netns = fixture.pin(&pod).await;

    let attachment = network.attach(&pod, &request(netns.clone())).await.unwrap();
    let expected: Vec<IpAddr> =
        vec!["10.99.241.2".parse().unwrap(), "fd00:99:241::2".parse().unwrap()];
    assert_eq!(attachment.ips, expected);
    let shown = inside(&netns, &["ip", "-o", "addr", "show", "eth0"]);
    assert!(shown.contains("10.99.241.2/24") && shown.contains("fd00:99:241::2/64"), "{shown}");
    assert_eq!(network.attachment(&pod).unwrap(), Some(attachment.clone()));
    network.check(&pod).await.unwrap();

    // A daemon that starts again knows the addresses and can give them back.
    let restarted = fixture.restarted().await;
    assert_eq!(restarted.attachment(&pod).unwrap(), Some(attachment));
    assert_eq!(leases(&fixture, &bridge).len(), 2);
    restarted.detach(&pod).await.unwrap();
    assert!(leases(&fixture, &bridge).is_empty());
    fixture.assert_forgotten();
    network.detach(&pod).await.unwrap();
}

#[tokio::test]
async fn check_notices_an_interface_that_went_away() {
    let bridge = Bridge("cnet242");
    let fixture = fixture(&bridge, 242, false).await;
    let pod = pod("changed");
    let netns = fixture.pin(&pod).await;
    fixture.network.attach(&pod, &request(netns.clone())).await.unwrap();
    inside(&netns, &["ip", "link", "del", "eth0"]);
    let text = fixture.network.check(&pod).await.unwrap_err().to_string();
    assert!(text.contains("bridge") && text.contains("CHECK"), "{text}");
    fixture.network.detach(&pod).await.unwrap();
}

#[tokio::test]
async fn a_pod_is_disconnected_after_a_reboot() {
    let bridge = Bridge("cnet243");
    let fixture = fixture(&bridge, 243, false).await;
    let pod = pod("rebooted");
    let netns = fixture.pin(&pod).await;
    fixture.network.attach(&pod, &request(netns.clone())).await.unwrap();
    // What a reboot takes: the namespace. And somebody took the configuration.
    netns::remove(netns).await.unwrap();
    fs::remove_file(fixture.path("conf/10.conflist")).unwrap();

    let restarted = fixture.restarted().await;
    let pending = restarted.pending().unwrap();
    assert_eq!(pending, [Pending { pod: pod.clone(), state: PendingState::Attached }]);
    restarted.gc(&Default::default()).await.unwrap();
    assert!(leases(&fixture, &bridge).is_empty());
    fixture.assert_forgotten();
}

#[tokio::test]
async fn a_published_port_leads_into_the_pod() {
    let bridge = Bridge("cnet244");
    let fixture = fixture(&bridge, 244, true).await;
    let pod = pod("published-net-test-244");
    let netns = fixture.pin(&pod).await;
    let port = PortMapping {
        protocol: Protocol::Tcp,
        container_port: 8080,
        host_port: 20244,
        host_ip: None,
    };
    let request = AttachRequest { port_mappings: vec![port], ..request(netns.clone()) };
    fixture.network.attach(&pod, &request).await.unwrap();
    assert!(iptables_mentions(&pod));

    let pin = netns.clone();
    let (listening, ready) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        netns::enter(&pin).unwrap();
        let listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        listening.send(()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut peer, b"from the pod").unwrap();
    });
    ready.recv().unwrap();
    let address = "127.0.0.1:20244".parse().unwrap();
    let mut peer = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    let mut said = String::new();
    peer.read_to_string(&mut said).unwrap();
    assert_eq!(said, "from the pod");
    server.join().unwrap();

    fixture.network.detach(&pod).await.unwrap();
    assert!(!iptables_mentions(&pod), "rules of the pod stayed");
    assert!(leases(&fixture, &bridge).is_empty());
}

/// Not a test of speed, for other work shares the machine; `--nocapture` shows the figures.
#[tokio::test]
async fn connecting_costs_little_more_than_the_plugins() {
    for (bridge, third, masquerade) in
        [(Bridge("cnet245"), 245, false), (Bridge("cnet246"), 246, true)]
    {
        let fixture = fixture(&bridge, third, masquerade).await;
        let (mut adds, mut dels) = (Vec::new(), Vec::new());
        for round in 0..5 {
            let pod = pod(&format!("timed-{round}"));
            let netns = fixture.pin(&pod).await;
            let begun = Instant::now();
            fixture.network.attach(&pod, &request(netns.clone())).await.unwrap();
            adds.push(begun.elapsed());
            let begun = Instant::now();
            fixture.network.detach(&pod).await.unwrap();
            dels.push(begun.elapsed());
            netns::remove(netns).await.unwrap();
        }
        adds.sort();
        dels.sort();
        println!("masquerade {masquerade}: ADD {:?}, DEL {:?} (medians)", adds[2], dels[2]);
        assert!(adds[2] < Duration::from_secs(5) && dels[2] < Duration::from_secs(5));
        assert!(leases(&fixture, &bridge).is_empty());
    }
}
