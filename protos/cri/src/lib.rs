// SPDX-License-Identifier: Apache-2.0
//! Kubernetes CRI v1: the wire messages, the server traits and the client, generated from
//! `proto/cri.proto`.

mod redact;

#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::struct_excessive_bools,
    unused_qualifications,
    reason = "generated code; the proto file carries the documentation"
)]
mod generated {
    tonic::include_proto!("runtime.v1");
}

pub use generated::*;

/// The compiled proto as an encoded `FileDescriptorSet`: what a test compares with the facts of
/// the API, and what gRPC reflection would serve.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cri.descriptors"));
