// SPDX-License-Identifier: Apache-2.0
//! One plugin that has registered: what it wants to hear, and how it is asked.

use std::time::Duration;

use crisp_nri::{Event, StateChangeEvent};
use protobuf::{Enum, Message};
use tokio::sync::watch;

use super::{connection::Connection, error::NriError, identity::Identity};

/// The events a plugin wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(i32);

impl Mask {
    const ALL: i32 = (1 << (Event::LAST as i32 - 1)) - 1;

    /// What a plugin answers to Configure; 0 means all.
    ///
    /// # Errors
    /// The bits that are no events.
    pub fn new(bits: i32) -> Result<Self, i32> {
        match bits & !Self::ALL {
            0 if bits == 0 => Ok(Self(Self::ALL)),
            0 => Ok(Self(bits)),
            extra => Err(extra),
        }
    }

    /// Whether it holds `event`.
    #[must_use]
    pub fn has(self, event: Event) -> bool {
        self.0 >> (event.value() - 1) & 1 == 1
    }
}

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// crisp started it.
    Launched,
    /// It connected.
    External,
}

/// Whether a plugin has been told of all that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not yet; events wait.
    Synchronizing,
    /// It has.
    Ready,
}

/// A registered plugin.
pub struct Plugin {
    /// Who it is.
    pub identity: Identity,
    /// Its identity in words, for messages.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Version of NRI it was built with; may be empty.
    pub version: String,
    /// What it wants to hear.
    pub events: Mask,
    /// The way to it.
    pub connection: Connection,
    /// How long it may take for an answer.
    pub limit: Duration,
    /// Whether it is synchronized.
    pub stage: watch::Sender<Stage>,
}

impl Plugin {
    /// Asks the plugin. One that does not answer, or is not understood, is dropped.
    ///
    /// # Errors
    /// [`NriError`].
    pub async fn ask<A: Message>(
        &self,
        call: &'static str,
        request: &impl Message,
    ) -> Result<A, NriError> {
        self.ask_within(self.limit, call, request).await
    }

    /// Asks the plugin something that may take it another time than usual.
    ///
    /// # Errors
    /// [`NriError`].
    pub async fn ask_within<A: Message>(
        &self,
        limit: Duration,
        call: &'static str,
        request: &impl Message,
    ) -> Result<A, NriError> {
        let answer = self.connection.call(&self.name, call, request, limit).await;
        if let Err(error) = &answer
            && error.is_fatal()
        {
            self.connection.close(&error.to_string());
        }
        answer
    }

    /// Tells the plugin of an event; one of before such calls hears of it as a change of state.
    ///
    /// # Errors
    /// [`NriError`].
    pub async fn tell<M: Message, A: Message>(
        &self,
        event: Event,
        request: &M,
        as_state_change: impl FnOnce() -> StateChangeEvent,
    ) -> Result<(), NriError> {
        match self.ask::<A>(call_of(event), request).await {
            Err(NriError::Unknown { .. }) => {
                let mut change = as_state_change();
                change.event = event.into();
                self.ask::<crisp_nri::Empty>("StateChange", &change).await.map(drop)
            }
            answer => answer.map(drop),
        }
    }

    /// Waits until the plugin is synchronized; false if it is gone.
    pub async fn is_ready(&self) -> bool {
        let mut stage = self.stage.subscribe();
        tokio::select! {
            ready = stage.wait_for(|stage| *stage == Stage::Ready) => {
                ready.is_ok() && !self.connection.is_closed()
            }
            _ = self.connection.closed() => false,
        }
    }
}

/// The plugin's call for an event.
#[must_use]
pub fn call_of(event: Event) -> &'static str {
    match event {
        Event::RUN_POD_SANDBOX => "RunPodSandbox",
        Event::STOP_POD_SANDBOX => "StopPodSandbox",
        Event::REMOVE_POD_SANDBOX => "RemovePodSandbox",
        Event::UPDATE_POD_SANDBOX => "UpdatePodSandbox",
        Event::POST_UPDATE_POD_SANDBOX => "PostUpdatePodSandbox",
        Event::CREATE_CONTAINER => "CreateContainer",
        Event::POST_CREATE_CONTAINER => "PostCreateContainer",
        Event::START_CONTAINER => "StartContainer",
        Event::POST_START_CONTAINER => "PostStartContainer",
        Event::UPDATE_CONTAINER => "UpdateContainer",
        Event::POST_UPDATE_CONTAINER => "PostUpdateContainer",
        Event::STOP_CONTAINER => "StopContainer",
        Event::REMOVE_CONTAINER => "RemoveContainer",
        Event::VALIDATE_CONTAINER_ADJUSTMENT => "ValidateContainerAdjustment",
        Event::UNKNOWN | Event::LAST => "StateChange",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_event() {
        let all = Mask::new(0).unwrap();
        for event in Event::VALUES.iter().filter(|e| !matches!(e, Event::UNKNOWN | Event::LAST)) {
            assert!(all.has(*event), "{event:?}");
            assert!(Mask::new(1 << (event.value() - 1)).unwrap().has(*event));
        }
        let one = Mask::new(1).unwrap();
        assert!(one.has(Event::RUN_POD_SANDBOX) && !one.has(Event::STOP_POD_SANDBOX));
        assert_eq!(Mask::new(1 << 14 | 1), Err(1 << 14));
    }
}
