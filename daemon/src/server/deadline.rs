// SPDX-License-Identifier: Apache-2.0
//! The deadline that a client names for its call.
//!
//! The client keeps it too and hangs up, but the answer may come first. The server library's own
//! clock is outside of all layers and answers CANCELLED, which no client of the CRI takes for a
//! timeout; this one is wound up before that, and asked before that.

use std::time::Duration;

use tonic::Status;

/// Reads the header `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP2, "Requests").
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = match digits.len() {
        1..=8 if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    Some(match unit {
        "H" => Duration::from_secs(count * 60 * 60),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The call's answer, or DEADLINE_EXCEEDED. The time runs from now.
pub(super) fn keep<R: Default, E>(
    limit: Option<Duration>,
    call: impl Future<Output = Result<http::Response<R>, E>>,
) -> impl Future<Output = Result<http::Response<R>, E>> {
    let timed = limit.map(|limit| (limit, tokio::time::sleep(limit)));
    async move {
        let Some((limit, over)) = timed else { return call.await };
        tokio::select! {
            biased;
            answer = call => answer,
            () = over => {
                let text = format!("not done within the {limit:?} that the client gave");
                Ok(Status::deadline_exceeded(text).into_http())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;

    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "S", "5", "5s", "-5S", "123456789S", "5 S", "5\u{e9}"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_late_call_is_told_so_and_others_are_left_alone() {
        let late = std::future::pending::<Result<http::Response<String>, Infallible>>();
        let answer = keep(Some(Duration::from_millis(5)), late).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let done = async { Ok::<_, Infallible>(http::Response::new("done".to_owned())) };
        let answer = keep(Some(Duration::ZERO), done).await.unwrap();
        assert_eq!(answer.body(), "done");
    }
}
