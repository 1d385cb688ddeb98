// SPDX-License-Identifier: Apache-2.0
//! HTTP clients, one for each kind of connection, made when first needed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Once, OnceLock, PoisonError},
};

use reqwest::{Client, redirect};

use super::Patience;
use crate::images::registries::Security;

static PROVIDER: Once = Once::new();
/// Redirects followed by one request; storage back ends need one or two.
const REDIRECTS: usize = 5;

/// The connections of the whole daemon. They carry no credentials of their own.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    verified: OnceLock<Client>,
    insecure: OnceLock<Client>,
    loopback: OnceLock<Client>,
    /// Hosts without TLS that were found to speak plain HTTP.
    plain: Mutex<HashMap<String, ()>>,
}

impl Connections {
    /// The client for connections of this kind.
    ///
    /// # Errors
    /// In words: TLS cannot be set up, for example because the host has no root certificates.
    pub(super) fn client(&self, security: Security, patience: Patience) -> Result<Client, String> {
        let slot = match security {
            Security::Verified => &self.shared.verified,
            Security::Insecure => &self.shared.insecure,
            Security::Loopback => &self.shared.loopback,
        };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = build(security, patience)
            .map_err(|error| format!("cannot set up a client: {}", chain(&error)))?;
        Ok(slot.get_or_init(|| client).clone())
    }

    pub(super) fn speaks_plain(&self, host: &str) -> bool {
        self.shared.plain.lock().unwrap_or_else(PoisonError::into_inner).contains_key(host)
    }

    pub(super) fn learn_plain(&self, host: &str, plain: Plain) {
        let mut known = self.shared.plain.lock().unwrap_or_else(PoisonError::into_inner);
        match plain {
            Plain::Yes => drop(known.insert(host.to_owned(), ())),
            Plain::No => drop(known.remove(host)),
        }
    }
}

/// Whether a host speaks plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Yes,
    No,
}

fn build(security: Security, patience: Patience) -> reqwest::Result<Client> {
    PROVIDER.call_once(|| {
        // Somebody else having installed one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = Client::builder()
        .user_agent(concat!("crisp/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.connect)
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .tcp_nodelay(true)
        .redirect(redirect_policy(security));
    match security {
        Security::Verified => builder.build(),
        Security::Insecure => builder.tls_danger_accept_invalid_certs(true).build(),
        // A proxy would look for the registry on its own loopback.
        Security::Loopback => builder.tls_danger_accept_invalid_certs(true).no_proxy().build(),
    }
}

/// Follows redirects as storage back ends need them, but never from TLS to plain HTTP. The client
/// itself drops `Authorization` as soon as the host changes.
fn redirect_policy(security: Security) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else if security == Security::Verified && from_tls && attempt.url().scheme() != "https" {
            attempt.error("it redirects from TLS to plain HTTP")
        } else {
            attempt.follow()
        }
    })
}

/// An error with its causes, and without the URL: that of a storage back end is a secret.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
