// SPDX-License-Identifier: Apache-2.0
//! Pod I/O: the second endpoint of a pod, by which its logs, attachments and stdio are driven.
//!
//! The messages are compiled from `proto/podio.proto`; the glue to ttrpc is small enough to be
//! written by hand. Container bytes never travel in these messages.

mod client;
mod service;

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::semicolon_if_nothing_returned,
    clippy::unwrap_used,
    reason = "written by the code generator"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/podio/mod.rs"));
}

pub use client::PodIoClient;
pub use generated::podio::{
    AttachRequest, AttachResponse, CloseRequest, CloseResponse, ContainerOptions, DrainedRequest,
    DrainedResponse, HelloRequest, HelloResponse, OpenRequest, OpenResponse, ReopenLogRequest,
    ReopenLogResponse, RuntimeOptions, SandboxOptions, ShutdownRequest, ShutdownResponse,
    TaskServer,
};
pub use service::{PodIo, create_pod_io};

/// Full name of the service, as ttrpc carries it.
pub const SERVICE: &str = "crisp.podio.v1.PodIo";

/// Names of the methods, as ttrpc carries them.
pub mod method {
    /// [`crate::PodIo::reopen_log`].
    pub const REOPEN_LOG: &str = "ReopenLog";
    /// [`crate::PodIo::attach`].
    pub const ATTACH: &str = "Attach";
    /// [`crate::PodIo::drained`].
    pub const DRAINED: &str = "Drained";
    /// [`crate::PodIo::open`].
    pub const OPEN: &str = "Open";
    /// [`crate::PodIo::close`].
    pub const CLOSE: &str = "Close";
    /// [`crate::PodIo::shutdown`].
    pub const SHUTDOWN: &str = "Shutdown";
    /// [`crate::PodIo::hello`].
    pub const HELLO: &str = "Hello";

    /// All of them, in the order of the proto.
    pub const ALL: [&str; 7] = [REOPEN_LOG, ATTACH, DRAINED, OPEN, CLOSE, SHUTDOWN, HELLO];
}

#[cfg(test)]
mod tests {
    use protobuf::MessageFull;

    #[test]
    fn the_names_on_the_wire_are_those_of_the_proto() {
        let file = super::AttachRequest::descriptor().file_descriptor().proto().clone();
        let service = &file.service[0];
        assert_eq!(format!("{}.{}", file.package(), service.name()), super::SERVICE);
        let methods: Vec<_> = service.method.iter().map(|m| m.name()).collect();
        assert_eq!(methods, super::method::ALL);
    }
}
