// SPDX-License-Identifier: Apache-2.0
//! glibc's heap. With one arena for each thread a burst of requests leaves memory behind in all
//! of them; two arenas and a trim now and then keep the daemon small.

#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")
)]

/// Limits the heap to two arenas. To be called before the first thread is started.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt takes two integers and touches only the allocator's own settings. No
        // other thread runs yet, which is all that glibc asks for.
        let accepted = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
        if accepted == 0 {
            tracing::debug!("the allocator did not accept a limit of two arenas");
        }
    }
}

/// Gives free pages at the heap's ends and within it back to the kernel. Takes milliseconds.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim takes an integer, locks the arenas itself and frees only pages that
        // hold no live allocation.
        unsafe { libc::malloc_trim(0) };
    }
}
