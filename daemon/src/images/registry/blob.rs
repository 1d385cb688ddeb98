// SPDX-License-Identifier: Apache-2.0
//! A blob as a stream that goes on where a broken connection left it.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header::CONTENT_RANGE};
use reqwest::Response;
use tokio::time::timeout;

use super::{backoff, connect::chain, session::Session};
use crate::images::{
    digest::{Digest, Hasher},
    error::ImageError,
};

/// Pieces of a blob, whose digest is checked at the end.
pub(crate) struct BlobStream {
    session: Arc<Session>,
    digest: Digest,
    size: u64,
    /// Bytes handed out.
    offset: u64,
    /// Bytes of the current answer that were handed out before.
    repeated: u64,
    response: Option<Response>,
    hasher: Option<Hasher>,
    /// Failures since the last byte of progress.
    failed: u32,
}

impl BlobStream {
    /// The blob `digest` of `size` bytes.
    pub(crate) fn new(session: Arc<Session>, digest: Digest, size: u64) -> Self {
        let hasher = Some(digest.hasher());
        Self { session, digest, size, offset: 0, repeated: 0, response: None, hasher, failed: 0 }
    }

    /// The next piece; none after the last, by when the digest has been found right.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        loop {
            if self.offset == self.size {
                return self.finish().map(|()| None);
            }
            let reason = match self.piece().await? {
                Ok(bytes) if bytes.is_empty() => continue,
                Ok(bytes) => {
                    self.failed = 0;
                    self.offset += bytes.len() as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&bytes);
                    }
                    return Ok(Some(bytes));
                }
                Err(reason) => reason,
            };
            self.response = None;
            self.failed += 1;
            let patience = self.session.patience();
            if self.failed >= patience.tries {
                return Err(self.session.unavailable(format!(
                    "blob {} broke off at byte {} of {}: {reason}",
                    self.digest, self.offset, self.size
                )));
            }
            tracing::debug!(registry = self.session.host(), blob = %self.digest, at = self.offset, %reason, "going on where it broke off");
            tokio::time::sleep(backoff::wait(self.failed, patience.first_wait, None)).await;
        }
    }

    /// New bytes of the answer, asking for it first if there is none. The inner error is worth
    /// another try.
    async fn piece(&mut self) -> Result<Result<Bytes, String>, ImageError> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open().await?,
        };
        let mut bytes = match timeout(self.session.patience().silence, response.chunk()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Ok(Err("it ended too early".to_owned())),
            Ok(Err(error)) => return Ok(Err(chain(&error.without_url()))),
            Err(_) => return Ok(Err("it stalled".to_owned())),
        };
        let known = self.repeated.min(bytes.len() as u64);
        self.repeated -= known;
        drop(bytes.split_to(usize::try_from(known).unwrap_or(bytes.len())));
        if self.offset + bytes.len() as u64 > self.size {
            let reason = format!("it is longer than the {} bytes its manifest says", self.size);
            return Err(self.session.bad_answer(self.digest.as_str(), reason));
        }
        self.response = Some(response);
        Ok(Ok(bytes))
    }

    async fn open(&mut self) -> Result<Response, ImageError> {
        let response = self.session.open_blob(&self.digest, self.offset).await?;
        self.repeated = self.offset;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let start = format!("bytes {}-", self.offset);
            let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            if !range.is_some_and(|range| range.starts_with(&start)) {
                let reason =
                    format!("it sends range {range:?} when asked from byte {}", self.offset);
                return Err(self.session.bad_answer(self.digest.as_str(), reason));
            }
            self.repeated = 0;
        }
        Ok(response)
    }

    fn finish(&mut self) -> Result<(), ImageError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let actual = hasher.finish();
        if actual == self.digest {
            return Ok(());
        }
        Err(ImageError::Corrupt {
            what: format!("blob from registry {}", self.session.host()),
            expected: self.digest.clone(),
            actual,
        })
    }
}
