// SPDX-License-Identifier: Apache-2.0
//! CRI at the edge: requests in, domain calls, answers out. Translation only; the domain never
//! sees a wire type.

pub mod translate;
