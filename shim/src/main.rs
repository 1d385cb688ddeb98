// SPDX-License-Identifier: Apache-2.0
//! `containerd-shim-crisp-v1`: one process per pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    containerd_shim_crisp_v1::main()
}
