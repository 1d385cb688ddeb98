// SPDX-License-Identifier: Apache-2.0
//! What all plugins together ask for: their answers merged one by one, in the order of the
//! plugins. What two of them want differently is an error that names both. Pure.

mod adjust;
mod owners;
mod resources;

pub use adjust::Creation;
pub use owners::removal;

use crisp_nri as nri;
use owners::Owners;

use super::error::NriError;

/// Changes to containers that are there already.
#[derive(Debug, Clone, Default)]
pub struct Updates {
    /// The container whose update is asked about, and what is to become of it.
    subject: Option<(String, nri::LinuxResources)>,
    /// Changes to others, in the order they were first named.
    others: Vec<nri::ContainerUpdate>,
    /// Containers to stop: who asked, and which.
    evictions: Vec<(String, nri::ContainerEviction)>,
    owners: Owners,
}

impl Updates {
    /// Updates that go with the request to change `container`'s limits to `asked`.
    #[must_use]
    pub fn of(container: &str, asked: nri::LinuxResources) -> Self {
        Self { subject: Some((container.to_owned(), asked)), ..Self::default() }
    }

    /// What the next plugin is asked about.
    #[must_use]
    pub fn asked(&self) -> nri::LinuxResources {
        self.subject.as_ref().map(|(_, asked)| asked.clone()).unwrap_or_default()
    }

    /// Adds what `plugin` asks for.
    ///
    /// # Errors
    /// [`NriError::Conflict`], unless the plugin does not mind.
    pub fn add(&mut self, updates: &[nri::ContainerUpdate], plugin: &str) -> Result<(), NriError> {
        for update in updates {
            // A copy: what is refused half-way leaves nothing behind.
            let mut tried = self.clone();
            match tried.add_one(update, plugin) {
                Ok(()) => *self = tried,
                Err(error) if update.ignore_failure => {
                    tracing::debug!(plugin, %error, "an update that may fail is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn add_one(&mut self, update: &nri::ContainerUpdate, plugin: &str) -> Result<(), NriError> {
        let asked = &update.linux.resources;
        if let Some(what) = resources::unknown(asked) {
            return Err(NriError::Impossible { plugin: plugin.to_owned(), what });
        }
        for (field, entry) in resources::fields(asked) {
            self.owners.claim(&update.container_id, field, &entry, plugin)?;
        }
        match &mut self.subject {
            Some((id, known)) if *id == update.container_id => resources::lay(asked, known),
            _ => resources::lay(asked, self.other(update)),
        }
        Ok(())
    }

    fn other(&mut self, update: &nri::ContainerUpdate) -> &mut nri::LinuxResources {
        let at = self.others.iter().position(|known| known.container_id == update.container_id);
        let at = at.unwrap_or_else(|| {
            self.others.push(nri::ContainerUpdate {
                container_id: update.container_id.clone(),
                ignore_failure: true,
                ..Default::default()
            });
            self.others.len() - 1
        });
        let known = &mut self.others[at];
        known.ignore_failure &= update.ignore_failure;
        known.linux.mut_or_insert_default().resources.mut_or_insert_default()
    }

    /// Adds the evictions that `plugin` asks for.
    pub fn evict(&mut self, evictions: &[nri::ContainerEviction], plugin: &str) {
        self.evictions.extend(evictions.iter().map(|one| (plugin.to_owned(), one.clone())));
    }

    /// The changes to other containers, and the containers to stop.
    #[must_use]
    pub fn others(self) -> (Vec<nri::ContainerUpdate>, Vec<(String, nri::ContainerEviction)>) {
        (self.others, self.evictions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nri::resources::from_request, pods::spec::Resources};

    fn update(id: &str, memory_limit: i64, cpu_shares: i64) -> nri::ContainerUpdate {
        let asked = Resources { memory_limit, cpu_shares, ..Resources::default() };
        let mut update = nri::ContainerUpdate::new();
        update.container_id = id.into();
        update.linux.mut_or_insert_default().resources = Some(from_request(&asked)).into();
        update
    }

    #[test]
    fn plugins_change_the_subject_and_others_together() {
        let asked = from_request(&Resources { cpu_shares: 2, ..Resources::default() });
        let mut updates = Updates::of("c", asked);
        updates.add(&[update("c", 10, 0), update("d", 0, 5)], "00-a").unwrap();
        updates.add(&[update("d", 7, 0)], "10-b").unwrap();
        assert_eq!(updates.asked().memory.limit.value, 10);
        assert_eq!(updates.asked().cpu.shares.value, 2);
        let (others, evictions) = updates.others();
        assert_eq!((others.len(), evictions.len()), (1, 0));
        assert_eq!(others[0].linux.resources.memory.limit.value, 7);
        assert_eq!(others[0].linux.resources.cpu.shares.value, 5);
    }

    #[test]
    fn a_conflict_fails_unless_the_plugin_does_not_mind() {
        let mut updates = Updates::default();
        updates.add(&[update("d", 7, 0)], "00-a").unwrap();
        let mut second = update("d", 8, 3);
        let error = updates.add(std::slice::from_ref(&second), "10-b").unwrap_err();
        assert!(error.to_string().contains("MemLimit of container d"), "{error}");
        let mut class = update("d", 0, 1);
        let resources = class.linux.mut_or_insert_default().resources.mut_or_insert_default();
        let gold = nri::OptionalString { value: "gold".into(), ..Default::default() };
        resources.rdt_class = Some(gold).into();
        let error = updates.add(&[class], "10-b").unwrap_err().to_string();
        assert_eq!(error, "NRI plugin 10-b asked for RDT class \"gold\"; there are none");
        second.ignore_failure = true;
        updates.add(&[second], "10-b").unwrap();
        let (others, _) = updates.others();
        assert_eq!(others[0].linux.resources.memory.limit.value, 7);
        assert!(others[0].linux.resources.cpu.shares.is_none(), "half of it was kept");
    }
}
