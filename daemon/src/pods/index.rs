// SPDX-License-Identifier: Apache-2.0
//! Finds pods and containers: by id, by a unique prefix of an id, or all of them. Reading never
//! waits for a pod's task.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use crisp_words::{ContainerId, SandboxId};

use super::{actor::Door, error::PodError, message::PodView};

/// All pods of the node and where their containers are.
#[derive(Default)]
pub struct Index {
    pods: RwLock<BTreeMap<SandboxId, Arc<Door>>>,
    containers: RwLock<BTreeMap<ContainerId, SandboxId>>,
}

impl Index {
    /// Adds a pod.
    pub fn add(&self, id: SandboxId, door: Door) {
        let view = door.view.borrow().clone();
        write(&self.pods).insert(id, Arc::new(door));
        self.note(&view);
    }

    /// Adds containers that came to be seen.
    pub fn note(&self, view: &PodView) {
        let known = read(&self.containers);
        let fresh: Vec<_> = view.containers.iter().filter(|c| !known.contains_key(&c.id)).collect();
        drop(known);
        if !fresh.is_empty() {
            let mut containers = write(&self.containers);
            for container in fresh {
                containers.insert(container.id.clone(), view.pod.id.clone());
            }
        }
    }

    /// Drops a container.
    pub fn drop_container(&self, id: &ContainerId) {
        write(&self.containers).remove(id);
    }

    /// Drops a pod.
    pub fn drop_pod(&self, id: &SandboxId) {
        write(&self.pods).remove(id);
    }

    /// The pod whose id is, or begins with, `text`.
    ///
    /// # Errors
    /// [`PodError::NoPod`] or [`PodError::Ambiguous`].
    pub fn pod(&self, text: &str) -> Result<Arc<Door>, PodError> {
        let pods = read(&self.pods);
        let door = find(&pods, text, |t| PodError::NoPod(t.to_owned()))?.1;
        Ok(door.clone())
    }

    /// The container whose id is, or begins with, `text`, and its pod.
    ///
    /// # Errors
    /// [`PodError::NoContainer`] or [`PodError::Ambiguous`].
    pub fn container(&self, text: &str) -> Result<(ContainerId, Arc<Door>), PodError> {
        let missing = |t: &str| PodError::NoContainer(t.to_owned());
        let containers = read(&self.containers);
        let (id, pod) = find(&containers, text, missing)?;
        let (id, pod) = (id.clone(), pod.clone());
        drop(containers);
        let door = read(&self.pods).get(&pod).cloned().ok_or_else(|| missing(text))?;
        Ok((id, door))
    }

    /// Every pod, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Door>> {
        read(&self.pods).values().cloned().collect()
    }
}

/// An exact match, else the only one that begins with `text`.
fn find<'a, K, V>(
    map: &'a BTreeMap<K, V>,
    text: &str,
    missing: impl Fn(&str) -> PodError,
) -> Result<(&'a K, &'a V), PodError>
where
    K: Ord + std::borrow::Borrow<str>,
{
    if text.is_empty() {
        return Err(missing(text));
    }
    if let Some(exact) = map.get_key_value(text) {
        return Ok(exact);
    }
    let from = (Bound::Included(text), Bound::Unbounded);
    let mut fits = map.range::<str, _>(from).take_while(|(id, _)| id.borrow().starts_with(text));
    match (fits.next(), fits.next()) {
        (Some(_), Some(_)) => Err(PodError::Ambiguous(text.to_owned())),
        (Some(only), None) => Ok(only),
        (None, _) => Err(missing(text)),
    }
}

/// A lock whose holder panicked still guards a map that is whole: each change is one call.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_must_fit_one_thing_only() {
        let ids = ["ab1", "ab2", "cd", "cdef"];
        let map: BTreeMap<ContainerId, ()> =
            ids.iter().map(|id| (ContainerId::new(*id).unwrap(), ())).collect();
        let found = |text| {
            find(&map, text, |t| PodError::NoContainer(t.to_owned()))
                .map(|(id, ())| id.as_str().to_owned())
        };
        assert_eq!(found("ab1").unwrap(), "ab1");
        assert_eq!(found("cde").unwrap(), "cdef");
        assert_eq!(found("cd").unwrap(), "cd");
        assert!(matches!(found("ab"), Err(PodError::Ambiguous(_))));
        assert!(matches!(found("x"), Err(PodError::NoContainer(_))));
        assert!(matches!(found(""), Err(PodError::NoContainer(_))));
    }
}
