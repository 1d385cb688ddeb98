// SPDX-License-Identifier: Apache-2.0
//! The creation of a container as plugins adjust it: each sees it with the changes of those
//! before it.

use std::collections::HashMap;

use crisp_nri::{self as nri, Field};

use super::{
    Updates,
    owners::{Owners, removal},
    resources,
};
use crate::nri::error::NriError;

/// A container being made, with all that was asked for so far.
#[derive(Debug, Clone)]
pub struct Creation {
    /// The container as the next plugin sees it.
    pub container: nri::Container,
    /// All adjustments.
    pub adjust: nri::ContainerAdjustment,
    /// Changes to other containers.
    pub updates: Updates,
    owners: Owners,
}

impl Creation {
    /// A container that nobody has adjusted yet.
    #[must_use]
    pub fn new(container: nri::Container) -> Self {
        Self {
            container,
            adjust: nri::ContainerAdjustment::new(),
            updates: Updates::default(),
            owners: Owners::default(),
        }
    }

    /// Adds `plugin`'s answer.
    ///
    /// # Errors
    /// [`NriError`] names what cannot be, and who asked for it.
    pub fn add(
        &mut self,
        answer: &nri::CreateContainerResponse,
        plugin: &str,
    ) -> Result<(), NriError> {
        let own = |id: &str| id == self.container.id;
        let named = answer.update.iter().map(|u| &u.container_id);
        if named.chain(answer.evict.iter().map(|e| &e.container_id)).any(|id| own(id)) {
            let what =
                format!("an update or eviction of {}, which is being made", self.container.id);
            return Err(NriError::Impossible { plugin: plugin.to_owned(), what });
        }
        if let Some(adjust) = answer.adjust.as_ref() {
            By { creation: self, plugin }.adjust(adjust)?;
        }
        self.updates.add(&answer.update, plugin)?;
        self.updates.evict(&answer.evict, plugin);
        Ok(())
    }

    /// Who adjusted what, of this container and of others.
    #[must_use]
    pub fn owners(&self) -> nri::OwningPlugins {
        let mut all = self.owners.to_wire();
        all.owners.extend(self.updates.owners.to_wire().owners);
        all
    }
}

/// One plugin's hand on a creation.
struct By<'a> {
    creation: &'a mut Creation,
    plugin: &'a str,
}

/// A thing with a name in a list.
trait Named: Clone {
    fn name(&self) -> &str;
}

impl Named for nri::Mount {
    fn name(&self) -> &str {
        &self.destination
    }
}

impl Named for nri::LinuxDevice {
    fn name(&self) -> &str {
        &self.path
    }
}

impl Named for nri::KeyValue {
    fn name(&self) -> &str {
        &self.key
    }
}

impl Named for nri::LinuxNamespace {
    fn name(&self) -> &str {
        &self.type_
    }
}

/// The name that a thing, or the removal of one, is about.
fn subject<T: Named>(one: &T) -> &str {
    removal(one.name()).unwrap_or_else(|| one.name())
}

impl By<'_> {
    fn claim(&mut self, field: Field, entry: &str) -> Result<(), NriError> {
        let Creation { owners, container, .. } = &mut *self.creation;
        owners.claim(&container.id, field, entry, self.plugin)
    }

    fn clear(&mut self, field: Field, entry: &str) {
        let Creation { owners, container, .. } = &mut *self.creation;
        owners.clear(&container.id, field, entry, self.plugin);
    }

    fn adjust(&mut self, asked: &nri::ContainerAdjustment) -> Result<(), NriError> {
        self.annotations(&asked.annotations)?;
        self.mounts(&asked.mounts)?;
        self.env(&asked.env)?;
        self.args(&asked.args)?;
        self.hooks(&asked.hooks);
        if let Some(linux) = asked.linux.as_ref() {
            self.linux(linux)?;
        }
        self.rlimits(&asked.rlimits)?;
        self.cdi(&asked.cdi_devices)
    }

    /// Claims each thing that is set, and lets go of each that is removed. Gives the list of what
    /// was asked for before, with what is asked for now.
    fn named<T: Named>(
        &mut self,
        field: Field,
        asked: &[T],
        before: &[T],
    ) -> Result<Vec<T>, NriError> {
        for one in asked.iter().filter_map(|one| removal(one.name())) {
            self.clear(field, one);
        }
        for one in asked.iter().filter(|one| removal(one.name()).is_none()) {
            self.claim(field, one.name())?;
        }
        let touched = |old: &&T| !asked.iter().any(|new| subject(new) == subject(*old));
        let mut all: Vec<T> = before.iter().filter(touched).cloned().collect();
        // What is set takes the place of what is there: it needs no removal beside it.
        let is_set = |name: &str| asked.iter().any(|one| one.name() == name);
        let needed = |one: &&T| removal(one.name()).is_none_or(|name| !is_set(name));
        all.extend(asked.iter().filter(needed).cloned());
        Ok(all)
    }

    fn annotations(&mut self, asked: &HashMap<String, String>) -> Result<(), NriError> {
        let taken = self.pairs(Field::Annotations, asked)?;
        let Creation { container, adjust, .. } = &mut *self.creation;
        taken.show(&mut container.annotations);
        taken.note(&mut adjust.annotations);
        Ok(())
    }

    fn pairs(
        &mut self,
        field: Field,
        asked: &HashMap<String, String>,
    ) -> Result<Pairs<String>, NriError> {
        let pairs = Pairs::of(asked);
        for key in &pairs.removed {
            self.clear(field, key);
        }
        for key in pairs.set.keys() {
            self.claim(field, key)?;
        }
        Ok(pairs)
    }

    fn mounts(&mut self, asked: &[nri::Mount]) -> Result<(), NriError> {
        let before = self.creation.adjust.mounts.clone();
        self.creation.adjust.mounts = self.named(Field::Mounts, asked, &before)?;
        replace(&mut self.creation.container.mounts, asked);
        Ok(())
    }

    fn env(&mut self, asked: &[nri::KeyValue]) -> Result<(), NriError> {
        let before = self.creation.adjust.env.clone();
        self.creation.adjust.env = self.named(Field::Env, asked, &before)?;
        let env = &mut self.creation.container.env;
        env.retain(|line| {
            let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
            !asked.iter().any(|new| subject(new) == name)
        });
        let set = asked.iter().filter(|one| removal(one.name()).is_none());
        env.extend(set.map(|one| format!("{}={}", one.key, one.value)));
        Ok(())
    }

    fn args(&mut self, asked: &[String]) -> Result<(), NriError> {
        let Some(first) = asked.first() else { return Ok(()) };
        let asked = if first.is_empty() {
            self.clear(Field::Args, "");
            &asked[1..]
        } else {
            asked
        };
        self.claim(Field::Args, "")?;
        self.creation.adjust.args = asked.to_vec();
        self.creation.container.args = asked.to_vec();
        Ok(())
    }

    fn hooks(&mut self, asked: &nri::Hooks) {
        if *asked == nri::Hooks::new() {
            return;
        }
        let Creation { container, adjust, owners, .. } = &mut *self.creation;
        for known in [adjust.hooks.mut_or_insert_default(), container.hooks.mut_or_insert_default()]
        {
            for (from, to) in [
                (&asked.prestart, &mut known.prestart),
                (&asked.create_runtime, &mut known.create_runtime),
                (&asked.create_container, &mut known.create_container),
                (&asked.start_container, &mut known.start_container),
                (&asked.poststart, &mut known.poststart),
                (&asked.poststop, &mut known.poststop),
            ] {
                to.extend(from.iter().cloned());
            }
        }
        owners.share(&container.id, Field::OciHooks, self.plugin);
    }

    fn rlimits(&mut self, asked: &[nri::POSIXRlimit]) -> Result<(), NriError> {
        for limit in asked {
            self.claim(Field::Rlimits, &limit.type_)?;
            let Creation { container, adjust, .. } = &mut *self.creation;
            for list in [&mut container.rlimits, &mut adjust.rlimits] {
                list.retain(|old| old.type_ != limit.type_);
                list.push(limit.clone());
            }
        }
        Ok(())
    }

    /// The names are not resolved here, so plugins after this one do not see what they add.
    fn cdi(&mut self, asked: &[nri::CDIDevice]) -> Result<(), NriError> {
        for device in asked {
            self.claim(Field::CdiDevices, &device.name)?;
        }
        self.creation.adjust.cdi_devices.extend(asked.iter().cloned());
        Ok(())
    }

    fn linux(&mut self, asked: &nri::LinuxContainerAdjustment) -> Result<(), NriError> {
        // Both are there from now on.
        self.creation.adjust.linux.mut_or_insert_default();
        self.creation.container.linux.mut_or_insert_default();
        self.devices(&asked.devices)?;
        self.resources(&asked.resources)?;
        self.single(asked)?;
        self.namespaces(&asked.namespaces)?;
        self.sysctl(&asked.sysctl)?;
        self.net_devices(&asked.net_devices)?;
        self.rdt(&asked.rdt)
    }

    fn known(&mut self) -> (&mut nri::LinuxContainerAdjustment, &mut nri::LinuxContainer) {
        let Creation { container, adjust, .. } = &mut *self.creation;
        (adjust.linux.mut_or_insert_default(), container.linux.mut_or_insert_default())
    }

    fn devices(&mut self, asked: &[nri::LinuxDevice]) -> Result<(), NriError> {
        let before = self.known().0.devices.clone();
        let all = self.named(Field::Devices, asked, &before)?;
        let (adjust, container) = self.known();
        adjust.devices = all;
        replace(&mut container.devices, asked);
        Ok(())
    }

    fn namespaces(&mut self, asked: &[nri::LinuxNamespace]) -> Result<(), NriError> {
        // A namespace that is taken away cannot be given back by another plugin.
        for one in asked {
            self.claim(Field::Namespace, subject(one))?;
        }
        let (adjust, container) = self.known();
        adjust.namespaces.extend(asked.iter().cloned());
        replace(&mut container.namespaces, asked);
        Ok(())
    }

    fn resources(&mut self, asked: &nri::LinuxResources) -> Result<(), NriError> {
        if let Some(what) = resources::unknown(asked) {
            return Err(NriError::Impossible { plugin: self.plugin.to_owned(), what });
        }
        for (field, entry) in resources::fields(asked) {
            self.claim(field, &entry)?;
        }
        let (adjust, container) = self.known();
        resources::lay(asked, adjust.resources.mut_or_insert_default());
        resources::lay(asked, container.resources.mut_or_insert_default());
        Ok(())
    }

    /// Fields that are set as a whole.
    fn single(&mut self, asked: &nri::LinuxContainerAdjustment) -> Result<(), NriError> {
        if !asked.cgroups_path.is_empty() {
            self.claim(Field::CgroupsPath, "")?;
            let (adjust, container) = self.known();
            adjust.cgroups_path.clone_from(&asked.cgroups_path);
            container.cgroups_path.clone_from(&asked.cgroups_path);
        }
        macro_rules! whole {
            ($field:ident, $name:expr) => {
                if asked.$field.is_some() {
                    self.claim($name, "")?;
                    let (adjust, container) = self.known();
                    adjust.$field = asked.$field.clone();
                    container.$field = asked.$field.clone();
                }
            };
        }
        whole!(oom_score_adj, Field::OomScoreAdj);
        whole!(io_priority, Field::IoPriority);
        whole!(seccomp_policy, Field::SeccompPolicy);
        whole!(scheduler, Field::LinuxSched);
        if asked.memory_policy.is_some() {
            self.claim(Field::MemoryPolicy, "")?;
            self.known().0.memory_policy = asked.memory_policy.clone();
        }
        Ok(())
    }

    fn sysctl(&mut self, asked: &HashMap<String, String>) -> Result<(), NriError> {
        let taken = self.pairs(Field::Sysctl, asked)?;
        let (adjust, container) = self.known();
        taken.show(&mut container.sysctl);
        taken.note(&mut adjust.sysctl);
        Ok(())
    }

    fn net_devices(
        &mut self,
        asked: &HashMap<String, nri::LinuxNetDevice>,
    ) -> Result<(), NriError> {
        let pairs = Pairs::of(asked);
        for key in &pairs.removed {
            self.clear(Field::LinuxNetDevices, key);
        }
        for key in pairs.set.keys() {
            self.claim(Field::LinuxNetDevices, key)?;
        }
        let (adjust, container) = self.known();
        pairs.show(&mut container.net_devices);
        pairs.note(&mut adjust.net_devices);
        Ok(())
    }

    fn rdt(&mut self, asked: &nri::LinuxRdt) -> Result<(), NriError> {
        let fields = [
            (asked.clos_id.is_some(), Field::RdtClosID),
            (asked.schemata.is_some(), Field::RdtSchemata),
            (asked.enable_monitoring.is_some(), Field::RdtEnableMonitoring),
        ];
        if asked.remove {
            for (_, field) in fields {
                self.clear(field, "");
            }
            let removal = nri::LinuxRdt { remove: true, ..Default::default() };
            self.known().0.rdt = Some(removal).into();
        }
        for (_, field) in fields.into_iter().filter(|(set, _)| *set) {
            self.claim(field, "")?;
            let known = self.known().0.rdt.mut_or_insert_default();
            match field {
                Field::RdtClosID => known.clos_id = asked.clos_id.clone(),
                Field::RdtSchemata => known.schemata = asked.schemata.clone(),
                _ => known.enable_monitoring = asked.enable_monitoring.clone(),
            }
        }
        Ok(())
    }
}

/// In a container as the next plugin sees it: takes away what is removed or replaced, adds what is
/// set.
fn replace<T: Named>(known: &mut Vec<T>, asked: &[T]) {
    known.retain(|old| !asked.iter().any(|new| subject(new) == old.name()));
    known.extend(asked.iter().filter(|one| removal(one.name()).is_none()).cloned());
}

/// Pairs to set, and keys to remove.
struct Pairs<V> {
    set: HashMap<String, V>,
    removed: Vec<String>,
}

impl<V: Clone + Default> Pairs<V> {
    fn of(asked: &HashMap<String, V>) -> Self {
        let removed = asked.keys().filter_map(|key| removal(key)).map(str::to_owned).collect();
        let set = asked.iter().filter(|(key, _)| removal(key).is_none());
        Self { set: set.map(|(key, value)| (key.clone(), value.clone())).collect(), removed }
    }

    /// As the next plugin sees it.
    fn show(&self, known: &mut HashMap<String, V>) {
        for key in &self.removed {
            known.remove(key);
        }
        known.extend(self.set.clone());
    }

    /// As an adjustment: what replaces something removed needs no removal.
    fn note(&self, adjust: &mut HashMap<String, V>) {
        for key in &self.removed {
            adjust.remove(key);
            if !self.set.contains_key(key) {
                adjust.insert(format!("-{key}"), V::default());
            }
        }
        for (key, value) in &self.set {
            adjust.remove(&format!("-{key}"));
            adjust.insert(key.clone(), value.clone());
        }
    }
}
