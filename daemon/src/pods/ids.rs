// SPDX-License-Identifier: Apache-2.0
//! New ids: 32 random bytes in hexadecimal, the form that every client of the CRI knows.

use std::fmt::Write;

use crisp_words::{ContainerId, ExecId, SandboxId};

const BYTES: usize = 32;

fn random() -> String {
    random_of::<BYTES>()
}

fn random_of<const N: usize>() -> String {
    let mut bytes = [0u8; N];
    #[expect(clippy::expect_used, reason = "a kernel without randomness cannot run this daemon")]
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes.iter().fold(String::with_capacity(2 * N), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An id for a new sandbox.
#[must_use]
pub fn sandbox() -> SandboxId {
    #[expect(clippy::expect_used, reason = "64 hexadecimal digits are an id")]
    SandboxId::new(random()).expect("hexadecimal digits")
}

/// An id for a new container.
#[must_use]
pub fn container() -> ContainerId {
    #[expect(clippy::expect_used, reason = "64 hexadecimal digits are an id")]
    ContainerId::new(random()).expect("hexadecimal digits")
}

/// An id for a new exec: unique within its container.
#[must_use]
pub fn exec() -> ExecId {
    #[expect(clippy::expect_used, reason = "hexadecimal digits are an id")]
    ExecId::new(&random()[..16]).expect("hexadecimal digits")
}

/// What nobody can guess, for the URL of a session.
#[must_use]
pub fn secret() -> String {
    random_of::<24>()
}
