// SPDX-License-Identifier: Apache-2.0
//! The RPCs: from messages to verbs and back, nothing else.

mod close_io;
mod code;
mod opened;
mod pod_io;
mod sandbox;
mod serve;
mod task;

use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::well_known_types::timestamp::Timestamp;

pub(crate) use opened::Opened;
pub(crate) use serve::{Server, Socket, opened_services, pod_services};

/// A point in time as protobuf has it.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
        ..Timestamp::default()
    }
}
