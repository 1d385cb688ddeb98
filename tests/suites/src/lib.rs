// SPDX-License-Identifier: Apache-2.0
//! Suites that run crisp on real parts. Each case has a node of its own (daemon, root, run
//! directory, network) and ends with a look at what the node left on the host.

pub mod bench;
pub mod budgets;
pub mod dice;
pub mod fake;
pub mod faults;
pub mod kubelet;
pub mod log_check;
pub mod node;
pub mod node_suite;
pub mod nri;
pub mod operator;
pub mod proc;
pub mod restart;
pub mod sessions;
pub mod stage;
pub mod systemd;
pub mod traces;
pub mod variants;
