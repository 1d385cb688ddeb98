// SPDX-License-Identifier: Apache-2.0
//! CRI at the edge: requests in, domain calls, answers out. Translation only; the domain never
//! sees a wire type, and gRPC codes are made nowhere else.

pub mod chunks;
pub mod events;
pub mod limits;
pub mod status;
pub mod translate;
