// SPDX-License-Identifier: Apache-2.0
//! A registry inside the suite, for images whose config and layers a case must choose itself. It
//! speaks plain HTTP on a loopback address, which runtimes accept for development registries.

mod image;
mod serve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::fixture::Test;
pub use image::{Builder, Compression, Format, Tar, file};

/// Who may read.
#[derive(Debug, Clone, Default)]
pub enum Access {
    #[default]
    Anyone,
    /// HTTP basic authentication, as `user:password`.
    Basic(String),
    /// A token, which the registry's own token service gives for `user:password`.
    Bearer(String),
}

#[derive(Default)]
struct Store {
    blobs: HashMap<String, Vec<u8>>,
    /// By `repository@digest` and `repository:tag`: media type and digest.
    manifests: HashMap<String, (String, String)>,
    layers: Vec<String>,
    access: Access,
    requests: Vec<String>,
}

/// A running registry; stops when dropped.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub address: String,
    store: Arc<Mutex<Store>>,
    test: Test,
    server: tokio::task::JoinHandle<()>,
}

impl Registry {
    /// Listens on a free loopback port.
    pub async fn start(test: Test) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let address = listener.local_addr()?.to_string();
        let store = Arc::new(Mutex::new(Store::default()));
        let server = tokio::spawn(serve::serve(listener, address.clone(), store.clone()));
        Ok(Self { address, store, test, server })
    }

    /// Demands credentials from now on.
    pub fn demand(&self, access: Access) {
        lock(&self.store).access = access;
    }

    /// What was asked so far, as `GET /v2/…`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.store).requests.clone()
    }

    /// Begins an image; `name` is `repository:tag`.
    pub fn image(&self, name: &str) -> Builder<'_> {
        Builder::new(self, name)
    }

    /// Serves other bytes than the digest says for every layer pushed so far.
    pub fn damage_layers(&self) {
        let mut store = lock(&self.store);
        let layers = std::mem::take(&mut store.layers);
        for digest in layers {
            if let Some(last) = store.blobs.get_mut(&digest).and_then(|blob| blob.last_mut()) {
                *last ^= 0xff;
            }
        }
    }

    fn put_layer(&self, bytes: Vec<u8>) -> String {
        let digest = self.put_blob(bytes);
        lock(&self.store).layers.push(digest.clone());
        digest
    }

    fn put_blob(&self, bytes: Vec<u8>) -> String {
        let digest = digest(&bytes);
        lock(&self.store).blobs.insert(digest.clone(), bytes);
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
