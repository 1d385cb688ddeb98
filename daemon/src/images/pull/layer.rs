// SPDX-License-Identifier: Apache-2.0
//! One layer: from the registry into its own directory, without being stored on the way.

use std::{
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
};

use bytes::Bytes;
use futures::future::try_join_all;
use rustix::fs::{Mode, OFlags};
use tokio::sync::{mpsc, watch};

use super::{Shared, Source, blocking};
use crate::images::{
    digest::Digest,
    error::ImageError,
    manifest::Descriptor,
    registry::{BlobStream, Session},
    store::{LayerInfo, LayerKey, Lease, Staging, Store},
    unpack::{DiffStream, UnpackError, Unpacked, decompressor, inherit, unpack},
};

/// Pieces of a blob on their way to the unpacking thread.
const PIECES: usize = 16;
/// Pieces of the uncompressed archive on their way from one thread to the next.
const CHUNKS: usize = 16;
/// Below the size from which the allocator asks the kernel for each chunk.
const CHUNK: usize = 64 * 1024;

/// A lower layer of the same pull, once it is in place.
type Below = watch::Receiver<Option<Arc<Lease>>>;

/// Pulls all layers of an image at once, lowest first in the result.
pub(super) async fn pull_all(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    blobs: &[Descriptor],
    diff_ids: &[Digest],
) -> Result<Vec<Arc<Lease>>, ImageError> {
    let mut below: Vec<Below> = Vec::new();
    let mut chain: Option<Digest> = None;
    let mut work = Vec::new();
    for (blob, diff_id) in blobs.iter().zip(diff_ids) {
        let chain_id = chain_id(chain.as_ref(), diff_id);
        let source = Source {
            store: shared.store.clone(),
            session: Arc::clone(session),
            blob: blob.clone(),
            diff_id: diff_id.clone(),
            chain_id: chain_id.clone(),
            slots: Arc::clone(&shared.pulls.slots),
            limits: shared.pulls.limits,
            received: Arc::clone(&shared.pulls.received),
        };
        let (done, receiver) = watch::channel(None);
        let lower = below.clone();
        below.push(receiver);
        chain = Some(chain_id.clone());
        work.push(async move {
            let make = || pull_layer(source.clone(), lower.clone());
            let lease = shared.pulls.layers.join(chain_id, make).await?;
            done.send_replace(Some(Arc::clone(&lease)));
            Ok(lease)
        });
    }
    try_join_all(work).await
}

/// The id of a stack of layers (image-spec, config.md, "Layer ChainID").
fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}

async fn pull_layer(source: Source, below: Vec<Below>) -> Result<Arc<Lease>, ImageError> {
    let known = [LayerKey::alone(&source.diff_id), LayerKey::chained(&source.chain_id)];
    if let Some(lease) = known.iter().find_map(|key| source.store.lease(key)) {
        return Ok(Arc::new(lease));
    }
    let (staging, unpacked) = fetch_and_unpack(&source).await?;
    let Source { store, diff_id, chain_id, blob, .. } = source;
    let info = LayerInfo {
        version: 1,
        diff_id: diff_id.clone(),
        bytes: unpacked.bytes,
        inodes: unpacked.inodes,
        top: unpacked.top,
    };
    if unpacked.stands_alone() {
        let key = LayerKey::alone(&diff_id);
        return blocking("place layer", move || store.commit(staging, key, info))
            .await
            .map(Arc::new);
    }
    let below = wait_for(below).await?;
    blocking("complete layer", move || {
        complete(&store, &staging, &unpacked, &below)
            .map_err(|error| error.into_image_error(&blob.digest))?;
        store.commit(staging, LayerKey::chained(&chain_id), info)
    })
    .await
    .map(Arc::new)
}

/// Waits until all lower layers are in place.
async fn wait_for(below: Vec<Below>) -> Result<Vec<Arc<Lease>>, ImageError> {
    let mut leases = Vec::with_capacity(below.len());
    for mut layer in below {
        let done = layer.wait_for(Option::is_some).await.ok().and_then(|lease| lease.clone());
        leases
            .push(done.ok_or_else(|| ImageError::Abandoned { what: "a lower layer".to_owned() })?);
    }
    Ok(leases)
}

/// Why a layer could not be made.
enum Failed {
    Unpack(UnpackError),
    Image(ImageError),
}

impl Failed {
    fn into_image_error(self, layer: &Digest) -> ImageError {
        match self {
            Self::Unpack(error) => {
                ImageError::Unpack { layer: layer.clone(), source: Arc::new(error) }
            }
            Self::Image(error) => error,
        }
    }
}

impl From<UnpackError> for Failed {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

impl From<ImageError> for Failed {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

fn complete(
    store: &Store,
    staging: &Staging,
    unpacked: &Unpacked,
    below: &[Arc<Lease>],
) -> Result<(), Failed> {
    let layer = open_dir(&staging.diff_dir())?;
    let lower: Vec<OwnedFd> = below
        .iter()
        .rev()
        .map(|lease| open_dir(&store.diff_dir(lease.key())))
        .collect::<Result<_, _>>()?;
    Ok(inherit(unpacked, &layer, &lower)?)
}

fn open_dir(path: &Path) -> Result<OwnedFd, ImageError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| ImageError::host("open", path)(error.into()))
}

async fn fetch_and_unpack(source: &Source) -> Result<(Staging, Unpacked), ImageError> {
    let slot = Arc::clone(&source.slots).acquire_owned().await;
    let (pieces, queue) = mpsc::channel(PIECES);
    let job = {
        let (store, blob, diff_id, limits) = (
            source.store.clone(),
            source.blob.digest.clone(),
            source.diff_id.clone(),
            source.limits,
        );
        move || {
            let staging = store.stage()?;
            let unpacked = unpack_stream(Pieces::new(queue), &staging, &diff_id, limits)
                .map_err(|error| error.into_image_error(&blob))?;
            Ok((staging, unpacked))
        }
    };
    let job = tokio::task::spawn_blocking(job);
    let blob =
        BlobStream::new(Arc::clone(&source.session), source.blob.digest.clone(), source.blob.size);
    let fetched = feed(blob, pieces, &source.received).await;
    let unpacked =
        job.await.unwrap_or_else(|_| Err(ImageError::Abandoned { what: "unpacking".to_owned() }));
    drop(slot);
    // If the download failed, that is why unpacking did.
    fetched?;
    unpacked
}

/// A piece of the blob, or the word that it was whole and right.
enum Piece {
    Bytes(Bytes),
    End,
}

async fn feed(
    mut blob: BlobStream,
    pieces: mpsc::Sender<Piece>,
    received: &AtomicU64,
) -> Result<(), ImageError> {
    while let Some(bytes) = blob.next().await? {
        received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if pieces.send(Piece::Bytes(bytes)).await.is_err() {
            // Unpacking has failed and will say why.
            return Ok(());
        }
    }
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

/// The blob as a blocking reader.
struct Pieces {
    queue: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Pieces {
    fn new(queue: mpsc::Receiver<Piece>) -> Self {
        Self { queue, current: Bytes::new(), ended: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.queue.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::other("the download was abandoned")),
            }
        }
        let length = into.len().min(self.current.len());
        into[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// Decompresses and hashes on one thread, and writes files on another.
fn unpack_stream(
    pieces: Pieces,
    staging: &Staging,
    diff_id: &Digest,
    limits: crate::images::unpack::Limits,
) -> Result<Unpacked, Failed> {
    let root = open_dir(&staging.diff_dir())?;
    let (sender, chunks) = std_mpsc::sync_channel(CHUNKS);
    let hasher = diff_id.hasher();
    let (unpacked, actual) = std::thread::scope(|scope| {
        let inflate = scope.spawn(move || -> io::Result<Digest> {
            let mut archive = DiffStream::new(decompressor(pieces)?, hasher, limits.bytes);
            loop {
                let mut chunk = vec![0; CHUNK];
                let length = fill(&mut archive, &mut chunk)?;
                if length == 0 {
                    return Ok(archive.finish());
                }
                chunk.truncate(length);
                if sender.send(chunk).is_err() {
                    // The other thread has failed and says why.
                    return Ok(archive.finish());
                }
            }
        });
        let mut chunks = Chunks { queue: chunks, current: Vec::new(), at: 0 };
        let unpacked = unpack(&mut chunks, root, limits);
        if unpacked.is_ok() {
            // What follows the archive's end counts for the digest.
            while chunks.queue.recv().is_ok() {}
        }
        drop(chunks);
        let actual = inflate.join().unwrap_or_else(|_| Err(io::Error::other("a thread died")));
        (unpacked, actual)
    });
    // An archive cut short is the consequence of a stream that broke.
    let actual = actual.map_err(UnpackError::Unreadable)?;
    let unpacked = unpacked?;
    if actual == *diff_id {
        return Ok(unpacked);
    }
    Err(Failed::Image(ImageError::Corrupt {
        what: "a layer's content".to_owned(),
        expected: diff_id.clone(),
        actual,
    }))
}

fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Chunks {
    queue: std_mpsc::Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(chunk) = self.queue.recv() else { return Ok(0) };
            (self.current, self.at) = (chunk, 0);
        }
        let length = into.len().min(self.current.len() - self.at);
        into[..length].copy_from_slice(&self.current[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
