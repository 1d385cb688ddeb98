// SPDX-License-Identifier: Apache-2.0
//! Pulling: from a reference to an image that is on disk for good.
//!
//! ```text
//! reference ─▶ endpoints ─▶ manifest (of this platform) ─▶ config ─▶ layers, all at once:
//!     blob ─▶ its digest ─▶ decompress ─▶ diff id ─▶ unpack into a staged directory
//! all layers in place ─▶ sync ─▶ record
//! ```
//! A pull is a future that does its waiting in the caller's task: dropped, it stops. Equal pulls
//! and equal layers are worked on once, by whichever callers are still there.

mod flights;
mod layer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use flights::Flights;
use tokio::sync::Semaphore;

use super::{
    Shared,
    config::ConfigBlob,
    digest::Digest,
    error::ImageError,
    manifest::{self, Descriptor, Manifest, NotAnImage, Parsed, Platform},
    reference::Reference,
    registries::{Endpoint, Registries, Role},
    registry::{AuthFields, Credentials, Session},
    store::{Lease, NewImage, Store},
    unpack::Limits,
};

/// Largest manifest or index read. Registries commonly refuse more than 4 MiB themselves.
const MANIFEST_CAP: usize = 4 << 20;
/// Largest config read.
const CONFIG_CAP: usize = 8 << 20;

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// In any form that names an image.
    pub reference: String,
    /// The caller's credentials, for this pull only.
    pub auth: Option<AuthFields>,
    /// Returned with the image as they are.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Work in progress, and how much of it may go on at once.
pub(super) struct Pulls {
    images: Flights<ImageKey, Digest>,
    layers: Flights<Digest, Arc<Lease>>,
    slots: Arc<Semaphore>,
    limits: Limits,
    received: Arc<AtomicU64>,
}

/// Two pulls are the same only if they may see the same.
#[derive(PartialEq, Eq, Hash, Clone)]
struct ImageKey {
    reference: Reference,
    credentials: Option<Credentials>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// A manifest, how it was found, and whom to ask for its blobs.
struct Resolved {
    session: Arc<Session>,
    /// Of what the registry answered to the reference: perhaps an index.
    digest: Digest,
    manifest_digest: Digest,
    manifest: Manifest,
}

impl Pulls {
    pub(super) fn new(parallel_layers: usize, limits: Limits) -> Self {
        let slots = Arc::new(Semaphore::new(parallel_layers.max(1)));
        Self {
            images: Flights::new(),
            layers: Flights::new(),
            slots,
            limits,
            received: Arc::default(),
        }
    }

    /// Bytes of layers received so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Pulls what `request` names, by the rules in `registries`.
pub(super) async fn pull(
    shared: Arc<Shared>,
    registries: Arc<Registries>,
    request: PullRequest,
) -> Result<Digest, ImageError> {
    let text = registries.unalias(&request.reference);
    let candidates = Reference::candidates(&text, registries.search())?;
    let mut last = None;
    for reference in candidates {
        let credentials = match request.auth.clone() {
            Some(auth) => auth.for_registry(reference.registry())?,
            None => None,
        };
        let annotations = request.annotations.clone();
        let key = ImageKey {
            reference: reference.clone(),
            credentials: credentials.clone(),
            annotations,
        };
        let work = || {
            let (shared, registries, key) =
                (Arc::clone(&shared), Arc::clone(&registries), key.clone());
            async move { pull_one(shared, &registries, key).await }
        };
        match shared.pulls.images.join(key.clone(), work).await {
            Ok(id) => return Ok(id),
            // A block is a decision, not a miss.
            Err(error @ ImageError::Blocked { .. }) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(ImageError::NotStored { reference: request.reference }))
}

async fn pull_one(
    shared: Arc<Shared>,
    registries: &Registries,
    key: ImageKey,
) -> Result<Digest, ImageError> {
    let reference = &key.reference;
    let resolved = resolve(&shared, registries, reference, key.credentials.as_ref()).await?;
    let config = &resolved.manifest.config;
    let config_blob = resolved.session.small_blob(&config.digest, CONFIG_CAP).await?;
    let diff_ids = diff_ids(reference, &resolved.manifest, &config_blob)?;
    let layers =
        layer::pull_all(&shared, &resolved.session, &resolved.manifest.layers, &diff_ids).await?;
    let new = NewImage {
        id: config.digest.clone(),
        tag: reference.tagged(),
        digest: reference.digested(&resolved.digest),
        manifest: resolved.manifest_digest,
        config_blob,
        annotations: key.annotations,
        layers,
        now: now(),
    };
    let store = shared.store.clone();
    let record = blocking("announce image", move || store.announce(new)).await?;
    shared.store.sweep_orphans(std::time::Instant::now());
    Ok(record.id)
}

/// Asks the endpoints in turn.
async fn resolve(
    shared: &Shared,
    registries: &Registries,
    reference: &Reference,
    credentials: Option<&Credentials>,
) -> Result<Resolved, ImageError> {
    let mut last = None;
    for endpoint in registries.endpoints(reference)? {
        match resolve_at(shared, endpoint, reference, credentials).await {
            Ok(resolved) => return Ok(resolved),
            Err(error) => {
                if let Some(earlier) = last.replace(error) {
                    tracing::warn!(image = %reference, error = %earlier, "a mirror did not serve");
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| ImageError::NotStored { reference: reference.to_string() }))
}

async fn resolve_at(
    shared: &Shared,
    endpoint: Endpoint,
    reference: &Reference,
    credentials: Option<&Credentials>,
) -> Result<Resolved, ImageError> {
    // Credentials were given for the registry; a mirror is somebody else.
    let is_theirs = endpoint.role == Role::Registry || endpoint.host == reference.registry();
    let credentials = credentials.filter(|_| is_theirs).cloned();
    let session =
        Arc::new(Session::new(&shared.connections, endpoint, credentials, shared.patience)?);
    let (digest, parsed) = fetch(&session, reference, reference.at_registry()).await?;
    let manifests = match parsed {
        Parsed::Manifest(manifest) => {
            let manifest_digest = digest.clone();
            return Ok(Resolved { session, digest, manifest_digest, manifest });
        }
        Parsed::Index(manifests) => manifests,
    };
    let host = Platform::host();
    let chosen = manifest::choose(&manifests, &host).ok_or_else(|| ImageError::Unsupported {
        reference: reference.to_string(),
        reason: format!("it has no variant for {}/{}", host.os, host.architecture),
    })?;
    let manifest_digest = chosen.digest.clone();
    match fetch(&session, reference, manifest_digest.as_str()).await?.1 {
        Parsed::Manifest(manifest) => Ok(Resolved { session, digest, manifest_digest, manifest }),
        Parsed::Index(_) => {
            let reason = "an index in an index".to_owned();
            Err(session.bad_answer(manifest_digest.as_str(), reason))
        }
    }
}

/// Fetches a manifest or index and checks its digest, if `name` is one.
async fn fetch(
    session: &Session,
    reference: &Reference,
    name: &str,
) -> Result<(Digest, Parsed), ImageError> {
    let document = session.manifest(name, manifest::ACCEPT, MANIFEST_CAP).await?;
    let expected = name.parse::<Digest>().ok();
    let digest = match expected {
        Some(expected) if !expected.matches(&document.body) => {
            return Err(ImageError::Corrupt {
                what: format!("manifest of {reference} from registry {}", session.host()),
                actual: Digest::of(&document.body),
                expected,
            });
        }
        Some(expected) => expected,
        None => Digest::of(&document.body),
    };
    match manifest::parse(&document.body, &document.media_type) {
        Ok(parsed) => Ok((digest, parsed)),
        Err(NotAnImage::Malformed(reason)) => Err(session.bad_answer(name, reason)),
        Err(NotAnImage::Unsupported(reason)) => {
            Err(ImageError::Unsupported { reference: reference.to_string(), reason })
        }
    }
}

fn diff_ids(
    reference: &Reference,
    manifest: &Manifest,
    config_blob: &[u8],
) -> Result<Vec<Digest>, ImageError> {
    let unsupported =
        |reason: String| ImageError::Unsupported { reference: reference.to_string(), reason };
    let blob: ConfigBlob = serde_json::from_slice(config_blob)
        .map_err(|error| unsupported(format!("its config is not understood: {error}")))?;
    let rootfs = blob.rootfs.ok_or_else(|| {
        unsupported("its config names no layers: not a container image".to_owned())
    })?;
    let (layers, ids) = (manifest.layers.len(), rootfs.diff_ids.len());
    if layers != ids {
        return Err(unsupported(format!("its manifest has {layers} layers, its config {ids}")));
    }
    let host = Platform::host();
    if !blob.os.is_empty() && blob.os != host.os {
        return Err(unsupported(format!("it is for {}, this host is {}", blob.os, host.os)));
    }
    if !blob.architecture.is_empty() && blob.architecture != host.architecture {
        // The kernel may have an emulator for it.
        tracing::warn!(image = %reference, architecture = %blob.architecture, "image of another architecture");
    }
    Ok(rootfs.diff_ids)
}

/// Nanoseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs `work` on a thread that may block. It runs to its end even if the caller goes.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(ImageError::Abandoned { what: what.to_owned() }),
    }
}

/// What one layer's work needs.
#[derive(Clone)]
struct Source {
    store: Store,
    session: Arc<Session>,
    blob: Descriptor,
    diff_id: Digest,
    chain_id: Digest,
    slots: Arc<Semaphore>,
    limits: Limits,
    received: Arc<AtomicU64>,
}
