// SPDX-License-Identifier: Apache-2.0
//! A real registry in a process of its own, and a small pusher.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Client;

use super::build::TestImage;
use crate::images::Digest;

/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "alice:$2b$04$Q/u/rg8/1BCZI3MZP7eHBOR5/fOTDLJP8QYV5hfSJiHuLupQwwOTC\n";
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "open sesame";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogIn {
    Nobody,
    ByPassword,
}

pub(crate) struct RegistryProcess {
    child: Child,
    _dir: tempfile::TempDir,
    pub(crate) host: String,
    log_in: LogIn,
    client: Client,
}

impl RegistryProcess {
    pub(crate) async fn start(log_in: LogIn) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = free_host();
        let htpasswd = dir.path().join("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).unwrap();
        let auth = match log_in {
            LogIn::Nobody => String::new(),
            LogIn::ByPassword => {
                format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", htpasswd.display())
            }
        };
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n{auth}",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed (Debian package docker-registry)");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
        let registry = Self { child, _dir: dir, host, log_in, client };
        for _ in 0..400 {
            if std::net::TcpStream::connect(&registry.host).is_ok() {
                return registry;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("docker-registry does not listen");
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let builder = self.client.request(method, url);
        match self.log_in {
            LogIn::Nobody => builder,
            LogIn::ByPassword => builder.basic_auth(USER, Some(PASSWORD)),
        }
    }

    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &TestImage) {
        for blob in &image.blobs {
            self.push_blob(repository, blob).await;
        }
        self.push_manifest(repository, tag, image.media_type, &image.manifest).await;
    }

    async fn push_blob(&self, repository: &str, blob: &[u8]) {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let answer = self.request(reqwest::Method::POST, &url).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let location = answer.headers()["location"].to_str().unwrap();
        let url = format!("{location}&digest={}", Digest::of(blob));
        let put = self.request(reqwest::Method::PUT, &url).body(blob.to_vec());
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    pub(crate) async fn push_manifest(&self, repository: &str, tag: &str, kind: &str, body: &[u8]) {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let put = self.request(reqwest::Method::PUT, &url).header("content-type", kind);
        let answer = put.body(body.to_vec()).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
    }
}

impl Drop for RegistryProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on which nobody listens, for now.
pub(crate) fn free_host() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
