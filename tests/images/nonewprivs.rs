// SPDX-License-Identifier: Apache-2.0
//! Says which user it acts as. Installed setuid root, it shows whether `no_new_privs` held.

// SAFETY: `geteuid` takes nothing, changes nothing and cannot fail.
unsafe extern "C" {
    safe fn geteuid() -> u32;
}

fn main() {
    println!("Effective uid: {}", geteuid());
}
