// SPDX-License-Identifier: Apache-2.0

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    Inner, Network,
    cni::{Caller, CniError, Found},
};

/// How long a good answer of the plugins is believed. It is asked for again only when someone
/// asks for the node's status, so that an idle daemon stays idle.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long a bad one is.
const BAD_FOR: Duration = Duration::from_secs(2);
/// How long a caller waits for that. crictl gives up after 2 s.
const CALLER_WAITS: Duration = Duration::from_secs(1);

/// Whether pods can be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// They cannot.
    NotReady(NotReady),
}

/// Why pods cannot be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// In one word, for machines.
    pub reason: Reason,
    /// In full, for people.
    pub message: String,
}

/// Why pods cannot be connected, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No usable configuration.
    NoNetworkConfig,
    /// A plugin's program is missing.
    PluginMissing,
    /// A plugin does not speak the version that the configuration asks for.
    PluginVersion,
    /// A plugin says that it cannot connect pods now, or says nothing.
    PluginNotReady,
}

impl Reason {
    /// As CRI writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoNetworkConfig => "NoNetworkConfig",
            Self::PluginMissing => "CNIPluginMissing",
            Self::PluginVersion => "CNIPluginVersion",
            Self::PluginNotReady => "CNIPluginNotReady",
        }
    }
}

/// The last answer of the plugins.
#[derive(Debug, Default)]
pub(super) struct Probe {
    answer: Option<Answer>,
    /// Generation of the configuration for which the plugins are being asked.
    asking: Option<u64>,
}

#[derive(Debug, Clone)]
struct Answer {
    generation: u64,
    at: Instant,
    readiness: Readiness,
}

impl Answer {
    fn is_fresh(&self, now: Instant) -> bool {
        let good_for = match self.readiness {
            Readiness::Ready => GOOD_FOR,
            Readiness::NotReady(_) => BAD_FOR,
        };
        now.duration_since(self.at) < good_for
    }
}

fn not_ready(reason: Reason, message: impl ToString) -> Readiness {
    Readiness::NotReady(NotReady { reason, message: message.to_string() })
}

impl Network {
    /// Whether pods can be connected: a configuration is loaded, its plugins are there, speak its
    /// version and, from 1.1.0 on, say that they are able to. Their answer is remembered for some
    /// seconds and waited for no longer than one.
    pub async fn ready(&self) -> Readiness {
        let found = match self.inner.found_now() {
            Ok(found) => found,
            Err(why) => return not_ready(Reason::NoNetworkConfig, why),
        };
        if let Err(missing) = self.inner.caller.find_all(&found.conf) {
            let file = found.file.display();
            return not_ready(Reason::PluginMissing, format!("{file}: {missing}"));
        }
        self.probed(&found).await
    }

    async fn probed(&self, found: &Arc<Found>) -> Readiness {
        let generation = self.inner.generation();
        // Created before the look, so that no answer is missed between the two.
        let answered = self.inner.probed.notified();
        if let Some(fresh) = self.fresh_or_ask(found, generation) {
            return fresh;
        }
        let _ = timeout(CALLER_WAITS, answered).await;
        let probe = self.inner.probe.lock().unwrap_or_else(PoisonError::into_inner);
        match &probe.answer {
            Some(answer) if answer.generation == generation => answer.readiness.clone(),
            _ => not_ready(
                Reason::PluginNotReady,
                format!("the plugins of network {:?} have not answered yet", found.conf.name),
            ),
        }
    }

    /// The last answer if it is fresh; else the plugins are asked, unless they are being asked.
    fn fresh_or_ask(&self, found: &Arc<Found>, generation: u64) -> Option<Readiness> {
        let mut probe = self.inner.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let last = probe.answer.as_ref().filter(|answer| answer.generation == generation);
        if let Some(fresh) = last.filter(|answer| answer.is_fresh(Instant::now())) {
            return Some(fresh.readiness.clone());
        }
        // Versions change with the programs; only what can change by itself is asked again.
        let settled = !found.conf.version.has_status_and_gc();
        if let Some(last) = last
            && settled
            && last.readiness == Readiness::Ready
        {
            return Some(Readiness::Ready);
        }
        if probe.asking != Some(generation) {
            probe.asking = Some(generation);
            tokio::spawn(ask(self.inner.clone(), found.clone(), generation));
        }
        None
    }
}

async fn ask(inner: Arc<Inner>, found: Arc<Found>, generation: u64) {
    let deadline = inner.settings.status_deadline.min(inner.settings.deadline);
    let caller = Caller { deadline, ..inner.caller.clone() };
    let readiness = answer(&caller, &found).await;
    let mut probe = inner.probe.lock().unwrap_or_else(PoisonError::into_inner);
    if probe.asking == Some(generation) {
        probe.asking = None;
        probe.answer = Some(Answer { generation, at: Instant::now(), readiness });
    }
    drop(probe);
    inner.probed.notify_waiters();
}

async fn answer(caller: &Caller, found: &Found) -> Readiness {
    let conf = &found.conf;
    match caller.unspoken(conf).await {
        Ok(None) => {}
        Ok(Some((plugin, spoken))) => {
            let message = format!(
                "{}: cniVersion {} is not spoken by plugin {plugin}, which speaks {}",
                found.file.display(),
                conf.version,
                if spoken.is_empty() { "none".to_owned() } else { spoken.join(", ") },
            );
            return not_ready(Reason::PluginVersion, message);
        }
        Err(error @ CniError::Deadline { .. }) => {
            return not_ready(Reason::PluginNotReady, error);
        }
        // ADD may work all the same, and says more when it does not.
        Err(error) => tracing::warn!(network = conf.name, %error, "plugin does not tell versions"),
    }
    match caller.status(conf).await {
        Ok(()) => Readiness::Ready,
        Err(error) => {
            not_ready(Reason::PluginNotReady, format!("network {:?}: {error}", conf.name))
        }
    }
}
