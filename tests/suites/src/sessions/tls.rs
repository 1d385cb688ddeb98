// SPDX-License-Identifier: Apache-2.0
//! TLS, and the ports that sessions may use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use crisp_conformance::want::{contains, equal};

use super::{
    kubectl::{Client, Forwarded, Wire},
    process,
    url::{self, OUTPUT},
};
use crate::{node::Node, stage::Stage};

/// Ports of sessions on this node.
const FIRST: u16 = 23_710;
const LAST: u16 = 23_713;

/// A node with a certificate and a few ports, on an address that is not the usual one.
pub fn with_certificate(node: &Node) -> Result<()> {
    certificate(node.dir(), "first")?;
    put(node.dir(), "first")?;
    let at = node.dir().display();
    let api = format!(
        "[api]\nstream_address = \"127.0.0.2\"\nstream_port = \"{FIRST}-{LAST}\"\n\
         stream_tls_cert = \"{at}/certificate.pem\"\nstream_tls_key = \"{at}/key.pem\""
    );
    node.reword("[api]", &api)
}

/// A certificate that vouches for itself.
fn certificate(dir: &Path, name: &str) -> Result<()> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", "subjectAltName=IP:127.0.0.2"])
        .arg("-out")
        .arg(file(dir, name, "crt"))
        .arg("-keyout")
        .arg(file(dir, name, "key"))
        .output()
        .context("openssl")?;
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

fn file(dir: &Path, name: &str, kind: &str) -> PathBuf {
    dir.join(format!("{name}.{kind}"))
}

/// Puts a certificate where the daemon was told it is.
fn put(dir: &Path, name: &str) -> Result<()> {
    fs::copy(file(dir, name, "crt"), dir.join("certificate.pem"))?;
    fs::copy(file(dir, name, "key"), dir.join("key.pem"))?;
    Ok(())
}

/// The same daemon, before and after the certificate is renewed.
pub async fn sessions_use_the_certificate_of_now_and_the_ports_allowed(
    stage: &mut Stage,
) -> Result<()> {
    let (pod, container) = stage.pod_with_container().await?;
    let dir = stage.node.dir().to_owned();
    certificate(&dir, "second")?;
    for name in ["first", "second"] {
        put(&dir, name)?;
        let other = if name == "first" { "second" } else { "first" };
        let [trusts, distrusts] =
            [name, other].map(|ca| Client::of(stage).trusting(&file(&dir, ca, "crt")));
        for wire in Wire::BOTH {
            let url = url::exec(&container, &["sh", "-c", "echo safe; exit 6"], OUTPUT).await?;
            let port: u16 = url
                .strip_prefix("https://127.0.0.2:")
                .and_then(|rest| rest.split('/').next()?.parse().ok())
                .with_context(|| format!("{url} is not on the address asked for"))?;
            ensure!((FIRST..=LAST).contains(&port), "{url}: a port that is not allowed");
            let refused = distrusts.finish(wire, &url, OUTPUT, b"").await?;
            equal("exit code with another certificate", refused.status.code(), Some(125))?;
            contains("error", &String::from_utf8_lossy(&refused.stderr), "certificate")?;
            let done = trusts.finish(wire, &url, OUTPUT, b"").await?;
            equal("stdout", done.stdout.as_slice(), b"safe\n")?;
            equal("exit code", done.status.code(), Some(6))?;
            let url = url::forward(&pod).await?;
            Forwarded::open(&trusts, wire, &url, &[8080]).await?.end().await?;
            process::none(&pod, Duration::from_secs(20)).await?;
        }
    }
    // A session that waits for its client has a port.
    for _ in FIRST..=LAST {
        url::forward(&pod).await?;
    }
    let full = url::forward(&pod).await;
    let full = full.err().map(|error| format!("{error:#}")).unwrap_or_default();
    contains("error with all ports taken", &full, &format!("{FIRST}-{LAST}"))
}
