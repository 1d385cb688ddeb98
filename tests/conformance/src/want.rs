// SPDX-License-Identifier: Apache-2.0
//! Assertions: each says what was looked at, what was expected and what came.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tonic::Code;

use crate::cri::CallError;

/// `what` must equal `wanted`.
pub fn equal<A: Debug + PartialEq<B>, B: Debug>(what: &str, came: A, wanted: B) -> Result<()> {
    ensure!(came == wanted, "{what}: expected {}, came {}", shown(&wanted), shown(&came));
    Ok(())
}

/// `text` must hold `part`.
pub fn contains(what: &str, text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{what}: expected to hold {part:?}, came {}", shown(&text));
    Ok(())
}

/// `what` must be so; `came` is shown when it is not.
pub fn so(what: &str, holds: bool, came: impl Debug) -> Result<()> {
    ensure!(holds, "expected: {what}; came {}", shown(&came));
    Ok(())
}

/// The call must be refused, with whatever code.
pub fn refused<T>(what: &str, result: Result<T, CallError>) -> Result<CallError> {
    let Err(error) = result else { bail!("{what}: expected an error, the call succeeded") };
    ensure!(
        !matches!(error.code(), Code::Aborted | Code::Unavailable | Code::Unimplemented),
        "{what}: expected a refusal with a reason, came: {error}"
    );
    ensure!(!error.status.message().is_empty(), "{what}: the error {error} has no message");
    Ok(error)
}

/// The call must be refused with one of `codes`.
pub fn refused_with<T>(
    what: &str,
    result: Result<T, CallError>,
    codes: &[Code],
) -> Result<CallError> {
    let Err(error) = result else { bail!("{what}: expected {codes:?}, the call succeeded") };
    ensure!(codes.contains(&error.code()), "{what}: expected {codes:?}, came: {error}");
    Ok(error)
}

/// Asks `probe` again and again until it gives a value, at most for `limit`. `probe` says in its
/// error what it saw last.
pub async fn within<T, P, F>(limit: Duration, what: &str, mut probe: P) -> Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = Result<std::result::Result<T, String>>>,
{
    let start = Instant::now();
    loop {
        let seen = match probe().await? {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        ensure!(start.elapsed() < limit, "{what}: not within {limit:?}; seen last: {seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn shown(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    if text.len() > 1500 {
        let cut = (0..=1500).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
