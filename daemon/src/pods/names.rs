// SPDX-License-Identifier: Apache-2.0
//! Which sandbox has which metadata: no two sandboxes share it, and an identical retry gets the
//! answer of the request it repeats.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crisp_words::SandboxId;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, ready},
};

use super::{
    error::PodError,
    record::{Answer, PodRecord},
    spec::{PodConfig, PodMetadata},
};

/// The making of a sandbox, which several callers may wait for.
pub type Creation = Shared<BoxFuture<'static, Result<SandboxId, PodError>>>;

/// Names in use.
#[derive(Default)]
pub struct Names(Mutex<HashMap<PodMetadata, Name>>);

struct Name {
    id: SandboxId,
    config: PodConfig,
    handler: String,
    creation: Creation,
    answer: Answer,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<PodMetadata, Name>> {
        // Each change is one call on the map: a panic elsewhere cannot leave it half-made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The creation that a request shares, or a new one made by `begin`.
    ///
    /// # Errors
    /// [`PodError::PodExists`] when another sandbox has the metadata, or the same one and its
    /// client was told.
    pub fn claim(
        &self,
        config: &PodConfig,
        handler: &str,
        begin: impl FnOnce() -> (SandboxId, Creation),
    ) -> Result<Creation, PodError> {
        let mut names = self.lock();
        let Some(name) = names.get(&config.metadata) else {
            let (id, creation) = begin();
            let name = Name {
                id,
                config: config.clone(),
                handler: handler.to_owned(),
                creation: creation.clone(),
                answer: Answer::Pending,
            };
            names.insert(config.metadata.clone(), name);
            return Ok(creation);
        };
        let same = name.config == *config && name.handler == handler;
        if same && name.answer == Answer::Pending {
            return Ok(name.creation.clone());
        }
        let name = PodName(&config.metadata).to_string();
        let id = names[&config.metadata].id.clone();
        Err(PodError::PodExists { name, id })
    }

    /// Takes the name of a sandbox that outlived the last daemon.
    pub fn restore(&self, record: &PodRecord) {
        let name = Name {
            id: record.id.clone(),
            config: record.config.clone(),
            handler: record.requested_handler.clone(),
            creation: ready(Ok(record.id.clone())).boxed().shared(),
            answer: if record.is_ready() { record.answer } else { Answer::Given },
        };
        self.lock().insert(record.config.metadata.clone(), name);
    }

    /// Notes that a client was told of the sandbox.
    pub fn told(&self, metadata: &PodMetadata) {
        if let Some(name) = self.lock().get_mut(metadata) {
            name.answer = Answer::Given;
        }
    }

    /// Frees the name of a sandbox that is gone.
    pub fn free(&self, metadata: &PodMetadata, id: &SandboxId) {
        let mut names = self.lock();
        if names.get(metadata).is_some_and(|name| name.id == *id) {
            names.remove(metadata);
        }
    }
}

/// A sandbox's metadata, for people.
struct PodName<'a>(&'a PodMetadata);

impl fmt::Display for PodName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PodMetadata { name, uid, namespace, attempt } = self.0;
        write!(f, "{namespace}/{name} (uid {uid}, attempt {attempt})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SandboxId {
        SandboxId::new(text).unwrap()
    }

    fn begin(text: &'static str) -> impl FnOnce() -> (SandboxId, Creation) {
        move || (id(text), ready(Ok(id(text))).boxed().shared())
    }

    fn config(hostname: &str) -> PodConfig {
        PodConfig { hostname: hostname.into(), ..PodConfig::default() }
    }

    fn claimed(names: &Names, hostname: &str, new: &'static str) -> Result<SandboxId, PodError> {
        names.claim(&config(hostname), "", begin(new))?.now_or_never().unwrap()
    }

    #[test]
    fn an_identical_retry_gets_the_same_answer_until_it_was_given() {
        let names = Names::default();
        assert_eq!(claimed(&names, "a", "1").unwrap(), id("1"));
        assert_eq!(claimed(&names, "a", "2").unwrap(), id("1"));
        assert!(matches!(claimed(&names, "b", "2"), Err(PodError::PodExists { .. })));
        names.told(&PodMetadata::default());
        assert!(matches!(claimed(&names, "a", "2"), Err(PodError::PodExists { .. })));
    }

    #[test]
    fn a_name_is_free_again_when_its_sandbox_is_gone() {
        let names = Names::default();
        claimed(&names, "a", "1").unwrap();
        names.free(&PodMetadata::default(), &id("other"));
        assert!(claimed(&names, "b", "2").is_err());
        names.free(&PodMetadata::default(), &id("1"));
        assert_eq!(claimed(&names, "b", "2").unwrap(), id("2"));
    }
}
