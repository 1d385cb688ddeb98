// SPDX-License-Identifier: Apache-2.0
//! Pod networking: addresses, names, ports, several containers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use crisp_cri::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::case::{Outcome, cases};
use crate::edit::{EditContainer as _, EditPod as _, strings};
use crate::fixture::{Test, image_spec};
use crate::images::{HTTPD, NGINX};
use crate::pod::Pod;
use crate::want::{contains, equal, so, within};

cases! { "network";
    "the pod's DNS config is in resolv.conf" => dns,
    "without a DNS config resolv.conf has the host's servers" => host_dns,
    "the hostname is set" => hostname,
    "all containers of a pod have its hostname" => hostname_everywhere,
    "/etc/hosts knows localhost" => etc_hosts,
    "a port mapping of a container port alone needs no host port" => container_port,
    "a host port leads to the container" => host_port,
    "a host port is free again after the pod is stopped" => host_port_again,
    "a host port on an address of the host" => host_ip,
    "a pod's address is reached from the host" => pod_ip,
    "pods have addresses of their own and reach each other" => pod_to_pod,
    "a pod reaches the host" => pod_to_host,
    "status has one primary address, not repeated" => addresses,
    "loopback is up" => loopback,
    "the pod's address is on its interface" => interface,
    "a pod in the host network has no address of its own" => host_network,
    "containers of a pod share localhost" => localhost,
    "two containers of a pod serve and answer" => multi_network,
    "two containers of a pod have logs of their own" => multi_log,
    "two containers of a pod can both be exec'd" => multi_exec,
    "stopping a pod whose containers are gone releases its network" => stop_after_removal,
}

/// Starts the web server; it needs no command.
async fn web(pod: &Pod, image: &str) -> Result<crate::container::Container> {
    let edit = |c: &mut ContainerConfig| {
        c.image = Some(image_spec(image));
        c.command.clear();
    };
    Ok(pod.start(edit).await?)
}

/// Waits until `GET /` at `address` gives 200.
async fn serves(address: &str) -> Outcome {
    within(Duration::from_secs(30), &format!("GET http://{address}/ gives 200"), || async {
        let answer = tokio::time::timeout(Duration::from_secs(3), get(address)).await;
        let seen = match answer {
            Ok(Ok(answer)) if answer.contains(" 200 ") => return Ok(Ok(())),
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within 3 s".to_owned(),
        };
        Ok(Err(seen))
    })
    .await
}

async fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer).await?;
    answer.truncate(length);
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("0.0.0.0:0")?.local_addr()?.port())
}

async fn dns(t: Test) -> Outcome {
    let config = DnsConfig {
        servers: strings(&["10.10.10.10", "fd00::53"]),
        searches: strings(&["google.com", "example.org"]),
        options: strings(&["ndots:8", "timeout:3"]),
    };
    let container = t.pod_with(|p| p.dns_config = Some(config)).await?.idle().await?;
    let resolv = container.sh("cat /etc/resolv.conf").await?;
    for line in [
        "nameserver 10.10.10.10",
        "nameserver fd00::53",
        "search google.com example.org",
        "options ndots:8 timeout:3",
    ] {
        so(&format!("resolv.conf has {line:?}"), resolv.lines().any(|l| l == line), &resolv)?;
    }
    Ok(())
}

async fn host_dns(t: Test) -> Outcome {
    let servers = |text: &str| -> Vec<String> {
        text.lines().filter(|l| l.starts_with("nameserver")).map(str::to_owned).collect()
    };
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let container = t.pod().await?.idle().await?;
    let resolv = container.sh("cat /etc/resolv.conf").await?;
    equal("nameservers of the pod", servers(&resolv), servers(&host))
}

async fn hostname(t: Test) -> Outcome {
    let container =
        t.pod_with(|p| p.hostname = "conformance-host".to_owned()).await?.idle().await?;
    equal("hostname", container.sh("hostname").await?, "conformance-host")?;
    equal("/etc/hostname", container.sh("cat /etc/hostname").await?, "conformance-host")
}

async fn hostname_everywhere(t: Test) -> Outcome {
    let pod = t.pod_with(|p| p.hostname = "conformance-host".to_owned()).await?;
    for container in [pod.idle().await?, pod.idle().await?] {
        equal("hostname", container.sh("hostname").await?, "conformance-host")?;
    }
    Ok(())
}

async fn etc_hosts(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    let hosts = container.sh("cat /etc/hosts").await?;
    let known = hosts.lines().any(|l| l.starts_with("127.0.0.1") && l.contains("localhost"));
    so("/etc/hosts maps localhost to 127.0.0.1", known, hosts)
}

fn mapping(host_port: u16, host_ip: &str) -> PortMapping {
    PortMapping {
        protocol: Protocol::Tcp.into(),
        container_port: 80,
        host_port: host_port.into(),
        host_ip: host_ip.to_owned(),
    }
}

async fn container_port(t: Test) -> Outcome {
    let pod = t.pod_with(|p| p.port_mappings.push(mapping(0, ""))).await?;
    web(&pod, NGINX).await?;
    serves(&format!("{}:80", pod.ip().await?)).await
}

async fn host_port(t: Test) -> Outcome {
    let port = free_port()?;
    let pod = t.pod_with(|p| p.port_mappings.push(mapping(port, ""))).await?;
    web(&pod, NGINX).await?;
    serves(&format!("127.0.0.1:{port}")).await?;
    serves(&format!("{}:80", pod.ip().await?)).await
}

async fn host_port_again(t: Test) -> Outcome {
    let port = free_port()?;
    for _ in 0..2 {
        let pod = t.pod_with(|p| p.port_mappings.push(mapping(port, ""))).await?;
        web(&pod, NGINX).await?;
        serves(&format!("127.0.0.1:{port}")).await?;
        pod.stop().await?;
        let address = format!("127.0.0.1:{port}");
        let answer = tokio::time::timeout(Duration::from_secs(2), get(&address));
        let answered = matches!(answer.await, Ok(Ok(line)) if line.contains("200"));
        so("a stopped pod's port does not answer", !answered, answered)?;
    }
    Ok(())
}

async fn host_ip(t: Test) -> Outcome {
    let port = free_port()?;
    let pod = t.pod_with(|p| p.port_mappings.push(mapping(port, "127.0.0.1"))).await?;
    web(&pod, NGINX).await?;
    serves(&format!("127.0.0.1:{port}")).await
}

async fn pod_ip(t: Test) -> Outcome {
    let pod = t.pod().await?;
    web(&pod, NGINX).await?;
    serves(&format!("{}:80", pod.ip().await?)).await
}

async fn pod_to_pod(t: Test) -> Outcome {
    let (server, client) = (t.pod().await?, t.pod().await?);
    let (from, to) = (client.ip().await?, server.ip().await?);
    so("the addresses differ", from != to, (&from, &to))?;
    web(&server, NGINX).await?;
    serves(&format!("{to}:80")).await?;
    let container = client.idle().await?;
    container.sh(&format!("wget -q -O /dev/null http://{to}/")).await.map(drop)
}

async fn pod_to_host(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    // Whatever the host listens on at its side of the pod's network.
    let route = container.sh("ip route || route -n").await?;
    contains("routes of the pod", &route, "default")?;
    let gateway = route
        .lines()
        .find_map(|l| l.strip_prefix("default via "))
        .and_then(|l| l.split(' ').next())
        .context("no default route")?
        .to_owned();
    let listener = tokio::net::TcpListener::bind(format!("{gateway}:0")).await?;
    let port = listener.local_addr()?.port();
    let script = format!("echo hello | nc -w 5 {gateway} {port}; true");
    let answer = async {
        let (mut stream, _) = listener.accept().await?;
        let mut text = [0; 6];
        stream.read_exact(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let (asked, text) =
        tokio::join!(container.sh(&script), tokio::time::timeout(Duration::from_secs(10), answer));
    asked?;
    let text = text.context("nothing came from the pod within 10 s")??;
    equal("what the pod sent", text.as_slice(), b"hello\n".as_slice())
}

async fn addresses(t: Test) -> Outcome {
    let network = t.pod().await?.status().await?.network.context("network is unset")?;
    so("ip is an address", network.ip.parse::<std::net::IpAddr>().is_ok(), &network.ip)?;
    let repeated = network.additional_ips.iter().any(|a| a.ip == network.ip);
    so("additional_ips does not repeat ip", !repeated, &network)
}

async fn loopback(t: Test) -> Outcome {
    let container = t.pod().await?.idle().await?;
    container.sh("ping -c 1 -W 2 127.0.0.1").await?;
    Ok(())
}

async fn interface(t: Test) -> Outcome {
    let pod = t.pod().await?;
    let container = pod.idle().await?;
    contains("ip addr", &container.sh("ip addr").await?, &format!(" {}/", pod.ip().await?))
}

async fn host_network(t: Test) -> Outcome {
    let node = NamespaceMode::Node;
    let pod = t.pod_with(|p| p.namespaces().network = node.into()).await?;
    equal("network.ip", pod.status().await?.network.unwrap_or_default().ip, "")?;
    let container = pod.start(|c| c.namespaces().network = node.into()).await?;
    let host = std::fs::read_to_string("/proc/net/dev")?;
    let names = |text: &str| -> Vec<String> {
        let mut names: Vec<_> =
            text.lines().filter_map(|l| l.split_once(':')).map(|(n, _)| n.trim().into()).collect();
        // Other pods come and go.
        names.retain(|n: &String| !n.starts_with("veth"));
        names
    };
    equal("interfaces", names(&container.sh("cat /proc/net/dev").await?), names(&host))
}

async fn localhost(t: Test) -> Outcome {
    let pod = t.pod().await?;
    web(&pod, NGINX).await?;
    serves(&format!("{}:80", pod.ip().await?)).await?;
    pod.idle().await?.sh("wget -q -O /dev/null http://127.0.0.1/").await?;
    Ok(())
}

async fn pair(t: &Test) -> Result<(Pod, crate::container::Container, crate::container::Container)> {
    let pod = t.pod().await?;
    let httpd = web(&pod, HTTPD).await?;
    let busybox = pod.script("echo from busybox; exec sleep 3600").await?;
    Ok((pod, httpd, busybox))
}

async fn multi_network(t: Test) -> Outcome {
    let (pod, _httpd, _busybox) = pair(&t).await?;
    serves(&format!("{}:80", pod.ip().await?)).await
}

async fn multi_log(t: Test) -> Outcome {
    let (_pod, httpd, busybox) = pair(&t).await?;
    httpd.logged("httpd").await?;
    busybox.logged("from busybox").await?;
    for container in [&httpd, &busybox] {
        let path = container.status().await?.log_path;
        so("log_path is absolute and there", std::path::Path::new(&path).is_file(), path)?;
    }
    equal("lines of busybox", busybox.out()?, vec!["from busybox"])
}

async fn multi_exec(t: Test) -> Outcome {
    let (_pod, httpd, busybox) = pair(&t).await?;
    for container in [httpd, busybox] {
        equal("output of an exec", container.sh("echo hello").await?, "hello")?;
    }
    Ok(())
}

async fn stop_after_removal(t: Test) -> Outcome {
    let pod = t.pod().await?;
    pod.idle().await?.remove().await?;
    let ip = pod.ip().await?;
    pod.stop().await?;
    let reached =
        tokio::time::timeout(Duration::from_secs(1), TcpStream::connect((ip.as_str(), 80)));
    // A refused connection would mean that someone still has the address; by then it may have
    // been given to another pod, so only a listener is a fault.
    so("nobody serves at the address", !matches!(reached.await, Ok(Ok(_))), ip)
}
