// SPDX-License-Identifier: Apache-2.0
//! One log line for each call: method, id of the thing, duration, outcome. Messages themselves
//! are never logged: they may hold secrets. Each call is counted, too.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use tokio::sync::Notify;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty};

use crate::metrics::Metrics;

use super::deadline;

/// Notes the id of the thing that the current call is about, for its log line.
pub fn seen(id: &str) {
    Span::current().record("id", id);
}

/// Notes the pod that the current call is about, by id or, while it has none, by name.
pub fn seen_pod(pod: &str) {
    Span::current().record("pod", pod);
}

/// Tells that calls are being answered, to those who work after bursts.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Notify>);

impl Activity {
    /// Waits for the end of a call.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

/// Layer that logs calls.
#[derive(Clone)]
pub struct RequestLog {
    activity: Activity,
    metrics: Metrics,
}

impl RequestLog {
    /// A layer that also tells `activity`, and counts in `metrics`.
    #[must_use]
    pub fn new(activity: Activity, metrics: Metrics) -> Self {
        Self { activity, metrics }
    }
}

impl<S> Layer<S> for RequestLog {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged { inner, activity: self.activity.clone(), metrics: self.metrics.clone() }
    }
}

/// A service whose calls are logged.
#[derive(Clone)]
pub struct Logged<S> {
    inner: S,
    activity: Activity,
    metrics: Metrics,
}

impl<S, B, R> Service<http::Request<B>> for Logged<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: Default + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        let method = path.rsplit('/').next().unwrap_or(path).to_owned();
        let span = tracing::info_span!("rpc", method = %method, pod = Empty, id = Empty);
        let mut call = Call {
            kind: kind(&method),
            method,
            started: Instant::now(),
            open: true,
            activity: self.activity.clone(),
            metrics: self.metrics.clone(),
            span: span.clone(),
        };
        let header = request.headers().get("grpc-timeout");
        let limit = header.and_then(|value| value.to_str().ok()).and_then(deadline::parse);
        let answer = deadline::keep(limit, self.inner.call(request));
        let logged = async move {
            let answer = answer.await;
            if let Ok(response) = &answer {
                call.end(Status::from_header_map(response.headers()));
            }
            answer
        };
        Box::pin(logged.instrument(span))
    }
}

/// Whether a method changes anything. Those that only look are called all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallKind {
    Looks,
    Changes,
}

fn kind(method: &str) -> CallKind {
    let looks = ["List", "Stream", "Get"].iter().any(|p| method.starts_with(p))
        || ["Status", "Stats", "Info", "Version"].iter().any(|s| method.ends_with(s))
        || method == "RuntimeConfig";
    if looks { CallKind::Looks } else { CallKind::Changes }
}

/// A call that is being answered. Dropped while open, it was given up by the client.
struct Call {
    kind: CallKind,
    method: String,
    started: Instant,
    open: bool,
    activity: Activity,
    metrics: Metrics,
    span: Span,
}

impl Call {
    fn end(&mut self, failure: Option<Status>) {
        self.open = false;
        let took = self.started.elapsed();
        let ms = took.as_millis();
        let failure = failure.filter(|s| s.code() != Code::Ok);
        self.metrics.operation_ended(&self.method, failure.as_ref().map(Status::code), took);
        match (failure, self.kind) {
            (None, CallKind::Looks) => tracing::debug!(ms, "done"),
            (None, CallKind::Changes) => tracing::info!(ms, "done"),
            // Asking for what is not there is how clients find out.
            (Some(s), CallKind::Looks)
                if matches!(s.code(), Code::NotFound | Code::Unimplemented) =>
            {
                tracing::debug!(ms, code = ?s.code(), "{}", s.message());
            }
            (Some(s), _) => tracing::warn!(ms, code = ?s.code(), "{}", s.message()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.open {
            let took = self.started.elapsed();
            self.metrics.operation_ended(&self.method, Some(Code::Cancelled), took);
            let ms = took.as_millis();
            self.span.in_scope(|| tracing::warn!(ms, "given up by the client"));
        }
        self.activity.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_only_look_are_told_from_those_that_change() {
        for method in [
            "Version",
            "Status",
            "ListContainers",
            "StreamImages",
            "ImageFsInfo",
            "ImageStatus",
            "ContainerStats",
            "GetContainerEvents",
            "RuntimeConfig",
            "PodSandboxStatus",
        ] {
            assert_eq!(kind(method), CallKind::Looks, "{method}");
        }
        for method in ["RunPodSandbox", "PullImage", "ExecSync", "UpdateRuntimeConfig"] {
            assert_eq!(kind(method), CallKind::Changes, "{method}");
        }
    }
}
