// SPDX-License-Identifier: Apache-2.0
//! Kubernetes CRI v1: the wire messages, the server traits and the client, generated from
//! `proto/cri.proto`.

#[expect(
    missing_docs,
    clippy::all,
    clippy::semicolon_if_nothing_returned,
    unused_qualifications,
    reason = "generated code; the proto file carries the documentation"
)]
mod generated {
    tonic::include_proto!("runtime.v1");
}

pub use generated::*;
