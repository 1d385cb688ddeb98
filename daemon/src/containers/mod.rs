// SPDX-License-Identifier: Apache-2.0
//! Containers: what they are, how they are made, how they end.

pub mod apparmor;
pub mod capabilities;
pub mod cdi;
pub mod create;
pub mod devices;
pub mod erase;
pub mod exec_sync;
pub mod exit;
pub mod host;
pub mod mounts;
pub mod oci_spec;
pub mod record;
pub mod release;
pub mod reopen;
pub mod resources;
pub mod seccomp;
pub mod signals;
pub mod spec;
pub mod start;
pub mod stop;
pub mod update;
pub mod users;
pub mod volumes;
