// SPDX-License-Identifier: Apache-2.0
//! One pull's conversation with one endpoint.

use http::{
    HeaderMap, StatusCode,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use reqwest::{Client, Response};
use tokio::{sync::Mutex, time::timeout};

use super::{
    Patience,
    auth::{self, Credentials, TokenAnswer},
    backoff,
    challenge::{self, Challenge},
    connect::{Connections, Plain, chain},
};
use crate::images::{
    digest::Digest,
    error::ImageError,
    reference::DEFAULT_REGISTRY,
    registries::{Endpoint, Security},
};

/// Docker Hub's interface lives on another host than its name says.
const HUB_HOST: &str = "registry-1.docker.io";
/// Times one request may be told to log in: once without a token, once with a stale one.
const LOGINS: u32 = 2;
/// A refused connection is tried once more: a registry may be restarting.
const CONNECT_TRIES: u32 = 2;
/// Largest token answer read.
const TOKEN_CAP: usize = 1 << 20;
/// Largest error text repeated, in bytes.
const REASON_CAP: usize = 4096;

/// A body with what its head said.
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

/// One pull at one endpoint: its connection, its credentials, its token.
pub(crate) struct Session {
    connections: Connections,
    client: Client,
    endpoint: Endpoint,
    credentials: Option<Credentials>,
    patience: Patience,
    login: Mutex<Login>,
}

#[derive(Default, Clone)]
struct Login {
    header: Option<HeaderValue>,
    /// How often the header was renewed: tells a stale one from one that was refused.
    age: u64,
}

/// What to ask for.
struct Request<'a> {
    path: &'a str,
    /// For error texts.
    what: &'a str,
    accept: Option<&'static str>,
    from: u64,
}

/// How one try of a request ended, if not well.
enum Trouble {
    /// Worth another try.
    Passing { reason: String, retry_after: Option<String>, tries: u32 },
    /// Final.
    Lasting(ImageError),
}

impl Session {
    pub(crate) fn new(
        connections: &Connections,
        endpoint: Endpoint,
        credentials: Option<Credentials>,
        patience: Patience,
    ) -> Result<Self, ImageError> {
        let client = connections.client(endpoint.security, patience).map_err(|reason| {
            ImageError::Unavailable { registry: endpoint.host.clone(), reason }
        })?;
        let header = match &credentials {
            Some(Credentials::RegistryToken(token)) => auth::bearer(token),
            _ => None,
        };
        Ok(Self {
            connections: connections.clone(),
            client,
            endpoint,
            credentials,
            patience,
            login: Mutex::new(Login { header, age: 0 }),
        })
    }

    /// The host asked.
    pub(crate) fn host(&self) -> &str {
        &self.endpoint.host
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Fetches a manifest by tag or digest, of at most `cap` bytes.
    pub(crate) async fn manifest(
        &self,
        name: &str,
        accept: &'static str,
        cap: usize,
    ) -> Result<Document, ImageError> {
        let path = format!("manifests/{name}");
        self.document(Request { path: &path, what: name, accept: Some(accept), from: 0 }, cap).await
    }

    /// Fetches a small blob whole, of at most `cap` bytes, and checks that it is the right one.
    pub(crate) async fn small_blob(
        &self,
        digest: &Digest,
        cap: usize,
    ) -> Result<Vec<u8>, ImageError> {
        let path = format!("blobs/{digest}");
        let request = Request { path: &path, what: digest.as_str(), accept: None, from: 0 };
        let body = self.document(request, cap).await?.body;
        if digest.matches(&body) {
            return Ok(body);
        }
        Err(ImageError::Corrupt {
            what: format!("blob from registry {}", self.host()),
            expected: digest.clone(),
            actual: Digest::of(&body),
        })
    }

    /// Opens a blob at byte `from`. The answer's status tells whether the registry heeded it.
    pub(super) async fn open_blob(
        &self,
        digest: &Digest,
        from: u64,
    ) -> Result<Response, ImageError> {
        let path = format!("blobs/{digest}");
        self.open(&Request { path: &path, what: digest.as_str(), accept: None, from }).await
    }

    async fn document(&self, request: Request<'_>, cap: usize) -> Result<Document, ImageError> {
        let mut failed = 0;
        loop {
            let response = self.open(&request).await?;
            let media_type = header_text(response.headers(), CONTENT_TYPE).unwrap_or_default();
            match self.read_capped(response, cap, request.what).await {
                Ok(body) => return Ok(Document { media_type, body }),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing { reason, .. }) => {
                    failed += 1;
                    if failed >= self.patience.tries {
                        return Err(self.unavailable(reason));
                    }
                    tokio::time::sleep(backoff::wait(failed, self.patience.first_wait, None)).await;
                }
            }
        }
    }

    async fn read_capped(
        &self,
        mut response: Response,
        cap: usize,
        what: &str,
    ) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            match timeout(self.patience.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > cap => {
                    let reason = format!("it is bigger than {cap} bytes");
                    return Err(Trouble::Lasting(self.bad_answer(what, reason)));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(error)) => {
                    return Err(passing(chain(&error.without_url()), self.patience.tries));
                }
                Err(_) => {
                    return Err(passing("its answer stalled".to_owned(), self.patience.tries));
                }
            }
        }
    }

    /// Sends a request until it is answered well or there is no hope.
    async fn open(&self, request: &Request<'_>) -> Result<Response, ImageError> {
        let mut failed = 0;
        loop {
            match self.once(request).await {
                Ok(response) => return Ok(response),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing { reason, retry_after, tries }) => {
                    failed += 1;
                    if failed >= tries {
                        return Err(self.unavailable(reason));
                    }
                    tracing::debug!(registry = self.host(), what = request.what, %reason, "trying again");
                    let wait =
                        backoff::wait(failed, self.patience.first_wait, retry_after.as_deref());
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// One try, logging in as often as the registry may ask for it.
    async fn once(&self, request: &Request<'_>) -> Result<Response, Trouble> {
        for _ in 0..LOGINS {
            let login = self.login.lock().await.clone();
            let response = self.send(request, login.header.clone()).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return self.judge(request, response).await;
            }
            self.log_in(request, &response, &login).await?;
        }
        let login = self.login.lock().await.clone();
        let response = self.send(request, login.header).await?;
        self.judge(request, response).await
    }

    async fn judge(&self, request: &Request<'_>, response: Response) -> Result<Response, Trouble> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = header_text(response.headers(), RETRY_AFTER);
        let reason = self.reason(response).await;
        let (registry, what) = (self.host().to_owned(), request.what.to_owned());
        Err(match status {
            StatusCode::NOT_FOUND => Trouble::Lasting(ImageError::NotFound {
                registry,
                what: format!("{}:{what}", self.endpoint.repository),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Trouble::Lasting(self.unauthorized(request.what, reason))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Trouble::Passing { reason, retry_after, tries: self.patience.tries }
            }
            status if status.is_server_error() => {
                Trouble::Passing { reason, retry_after, tries: self.patience.tries }
            }
            _ => Trouble::Lasting(ImageError::BadAnswer { registry, what, reason }),
        })
    }

    /// The status and what of the body is fit to print.
    async fn reason(&self, mut response: Response) -> String {
        let status = response.status().to_string();
        let mut body = Vec::new();
        while body.len() < REASON_CAP {
            match timeout(self.patience.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        let parsed: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let said = parsed.as_ref().and_then(|body| {
            let first = body.get("errors")?.get(0)?;
            let text = |key: &str| first.get(key).and_then(serde_json::Value::as_str);
            text("message").filter(|text| !text.is_empty()).or_else(|| text("code"))
        });
        match said {
            Some(said) => format!("{status}: {said}"),
            None => status,
        }
    }

    async fn send(
        &self,
        request: &Request<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Trouble> {
        let host = match self.host() {
            DEFAULT_REGISTRY => HUB_HOST,
            host => host,
        };
        let plain_allowed = self.endpoint.security != Security::Verified;
        let plain = plain_allowed && self.connections.speaks_plain(host);
        let first = if plain { "http" } else { "https" };
        let result = self.send_by(first, host, request, authorization.clone()).await;
        // TLS that fails where a connection stands may be no TLS at all.
        let fails_to_connect = matches!(&result, Err(Failure::Sent(error)) if error.is_connect() || error.is_request());
        if !plain_allowed || !fails_to_connect {
            return result.map_err(|failure| self.trouble(failure));
        }
        let second = if plain { "https" } else { "http" };
        let Ok(response) = self.send_by(second, host, request, authorization).await else {
            return result.map_err(|failure| self.trouble(failure));
        };
        self.connections.learn_plain(host, if plain { Plain::No } else { Plain::Yes });
        Ok(response)
    }

    async fn send_by(
        &self,
        scheme: &str,
        host: &str,
        request: &Request<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let url = format!("{scheme}://{host}/v2/{}/{}", self.endpoint.repository, request.path);
        let mut builder = self.client.get(url);
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if request.from > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", request.from));
        }
        match timeout(self.patience.silence, builder.send()).await {
            Ok(result) => result.map_err(Failure::Sent),
            Err(_) => Err(Failure::Silent),
        }
    }

    fn trouble(&self, failure: Failure) -> Trouble {
        match failure {
            Failure::Silent => {
                let seconds = self.patience.silence.as_secs_f32();
                passing(format!("it did not answer within {seconds} s"), CONNECT_TRIES)
            }
            Failure::Sent(error) => {
                let tries = if error.is_connect() { CONNECT_TRIES } else { self.patience.tries };
                passing(chain(&error.without_url()), tries)
            }
        }
    }

    /// Gets what the registry asks for in a 401 answer to a request that was sent with `used`.
    async fn log_in(
        &self,
        request: &Request<'_>,
        response: &Response,
        used: &Login,
    ) -> Result<(), Trouble> {
        // Held while a token is fetched: others wait for it instead of fetching their own.
        let mut login = self.login.lock().await;
        if login.age != used.age {
            return Ok(());
        }
        let refused =
            |reason: &str| Trouble::Lasting(self.unauthorized(request.what, reason.to_owned()));
        if matches!(self.credentials, Some(Credentials::RegistryToken(_))) {
            return Err(refused("it does not take the given token"));
        }
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let bearer = challenges.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
        let header = match (bearer, &self.credentials) {
            (Some(bearer), _) => self.fetch_token(request, bearer).await?,
            (None, _) if challenges.is_empty() => {
                return Err(refused("it refuses and offers no way to log in"));
            }
            (None, Some(Credentials::Basic { username, password })) => {
                if used.header.is_some() {
                    return Err(refused("it does not take the given user and password"));
                }
                auth::basic(username, password)
                    .ok_or_else(|| refused("the credentials cannot be put in a header"))?
            }
            (None, _) => {
                return Err(refused("it wants a user and a password, and none were given"));
            }
        };
        *login = Login { header: Some(header), age: used.age + 1 };
        Ok(())
    }

    async fn fetch_token(
        &self,
        request: &Request<'_>,
        bearer: &Challenge,
    ) -> Result<HeaderValue, Trouble> {
        let scope = format!("repository:{}:pull", self.endpoint.repository);
        let lasting = |reason: String| Trouble::Lasting(self.unauthorized(request.what, reason));
        let wanted = auth::token_request(bearer, self.credentials.as_ref(), &scope)
            .map_err(|reason| Trouble::Lasting(self.bad_answer(request.what, reason)))?;
        if self.endpoint.security == Security::Verified && wanted.url.scheme() != "https" {
            return Err(lasting("its token realm is not reached by TLS".to_owned()));
        }
        let server = wanted.url.host_str().unwrap_or_default().to_owned();
        let mut builder = match wanted.form {
            Some(form) => self
                .client
                .post(wanted.url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form),
            None => self.client.get(wanted.url),
        };
        if let Some(authorization) = wanted.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let response = match timeout(self.patience.silence, builder.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let reason = format!("token server {server}: {}", chain(&error.without_url()));
                return Err(passing(reason, CONNECT_TRIES));
            }
            Err(_) => {
                return Err(passing(format!("token server {server} is silent"), CONNECT_TRIES));
            }
        };
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(passing(format!("token server {server}: {status}"), self.patience.tries));
        }
        if !status.is_success() {
            return Err(lasting(format!("token server {server}: {status}")));
        }
        let body = self.read_capped(response, TOKEN_CAP, "its token").await?;
        serde_json::from_slice::<TokenAnswer>(&body)
            .ok()
            .and_then(TokenAnswer::token)
            .and_then(|token| auth::bearer(&token))
            .ok_or_else(|| lasting(format!("token server {server} gave no usable token")))
    }

    pub(super) fn unavailable(&self, reason: String) -> ImageError {
        ImageError::Unavailable { registry: self.host().to_owned(), reason }
    }

    pub(crate) fn bad_answer(&self, what: &str, reason: String) -> ImageError {
        ImageError::BadAnswer { registry: self.host().to_owned(), what: what.to_owned(), reason }
    }

    fn unauthorized(&self, what: &str, reason: String) -> ImageError {
        let what = format!("{}:{what}", self.endpoint.repository);
        ImageError::Unauthorized { registry: self.host().to_owned(), what, reason }
    }
}

enum Failure {
    Sent(reqwest::Error),
    Silent,
}

fn passing(reason: String, tries: u32) -> Trouble {
    Trouble::Passing { reason, retry_after: None, tries }
}

fn header_text(headers: &HeaderMap, name: http::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
