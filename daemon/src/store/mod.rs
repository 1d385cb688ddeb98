// SPDX-License-Identifier: Apache-2.0
//! Where crisp keeps what it knows: small versioned records, one for each object, written through
//! one atomic door, so that a bad file costs one object and never the node.

mod layout;
mod record;

pub use layout::Layout;
pub use record::{Record, RecordError, drop_unfinished, read, remove, write};
