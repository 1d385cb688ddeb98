// SPDX-License-Identifier: Apache-2.0
//! Credentials of one pull, and their exchange for what the registry wants to see.

use std::fmt;

use base64::Engine as _;
use http::HeaderValue;
use serde::Deserialize;

use super::challenge::Challenge;
use crate::images::error::ImageError;

const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;

/// How one pull proves who it is. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// User name and password.
    Basic {
        /// Who.
        username: String,
        /// The secret.
        password: String,
    },
    /// An OAuth2 refresh token, to be exchanged for an access token.
    IdentityToken(String),
    /// A token that the registry takes as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Basic { .. } => "Basic",
            Self::IdentityToken(_) => "IdentityToken",
            Self::RegistryToken(_) => "RegistryToken",
        };
        write!(f, "Credentials::{kind}(hidden)")
    }
}

/// The fields of CRI's `AuthConfig`. Never printed.
#[derive(Clone, Default)]
pub struct AuthFields {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// base64 of `username:password`.
    pub auth: String,
    /// The registry they are for; empty means whichever the image names.
    pub server_address: String,
    /// OAuth2 refresh token.
    pub identity_token: String,
    /// Ready token.
    pub registry_token: String,
}

impl fmt::Debug for AuthFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthFields(hidden)")
    }
}

impl AuthFields {
    /// The credentials to use for an image of `registry`; none if these are empty or meant for
    /// another registry.
    ///
    /// # Errors
    /// [`ImageError::Unauthorized`] when `auth` is not what it should be; its text is not repeated.
    pub fn for_registry(self, registry: &str) -> Result<Option<Credentials>, ImageError> {
        if !self.server_address.is_empty() && !is_same_host(&self.server_address, registry) {
            return Ok(None);
        }
        if !self.registry_token.is_empty() {
            return Ok(Some(Credentials::RegistryToken(self.registry_token)));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Credentials::IdentityToken(self.identity_token)));
        }
        if !self.username.is_empty() {
            let Self { username, password, .. } = self;
            return Ok(Some(Credentials::Basic { username, password }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let pair = BASE64.decode(self.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        let Some((username, password)) = pair.as_deref().and_then(|pair| pair.split_once(':'))
        else {
            return Err(ImageError::Unauthorized {
                registry: registry.to_owned(),
                what: "the image".to_owned(),
                reason: "the auth field is not base64 of user:password".to_owned(),
            });
        };
        // Some tools pad the password with NUL bytes.
        let password = password.trim_end_matches('\0').to_owned();
        Ok(Some(Credentials::Basic { username: username.to_owned(), password }))
    }
}

/// Whether a server address of any of the usual spellings (`https://index.docker.io/v1/`) means
/// this registry.
fn is_same_host(address: &str, registry: &str) -> bool {
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or(bare);
    let hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    host == registry || (hub(host) && hub(registry))
}

/// Header for `Basic` credentials.
pub(super) fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", BASE64.encode(format!("{username}:{password}"))))
}

pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A request for a token, before it is sent.
#[derive(Debug)]
pub(super) struct TokenRequest {
    pub(super) url: reqwest::Url,
    /// Sent as a form by POST if there is one.
    pub(super) form: Option<String>,
    pub(super) authorization: Option<HeaderValue>,
}

/// What to ask of the `realm` for `scope` (used if the challenge names none).
pub(super) fn token_request(
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    default_scope: &str,
) -> Result<TokenRequest, String> {
    let Challenge::Bearer { realm, service, scope } = challenge else {
        return Err("it offers no token".to_owned());
    };
    let mut url: reqwest::Url =
        realm.parse().map_err(|error| format!("its token realm {realm:?} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("its token realm {realm:?} is not reached by HTTP"));
    }
    let scope = scope.as_deref().unwrap_or(default_scope);
    if let Some(Credentials::IdentityToken(token)) = credentials {
        let mut form = reqwest::Url::parse("http://form/").map_err(|error| error.to_string())?;
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service.as_deref().unwrap_or_default())
            .append_pair("client_id", "crisp")
            .append_pair("scope", scope)
            .append_pair("refresh_token", token);
        let form = form.query().unwrap_or_default().to_owned();
        return Ok(TokenRequest { url, form: Some(form), authorization: None });
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", scope);
    }
    let authorization = match credentials {
        Some(Credentials::Basic { username, password }) => basic(username, password),
        _ => None,
    };
    Ok(TokenRequest { url, form: None, authorization })
}

/// A token server's answer; the two names mean the same.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl TokenAnswer {
    pub(super) fn token(self) -> Option<String> {
        self.token.filter(|t| !t.is_empty()).or(self.access_token).filter(|t| !t.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> AuthFields {
        AuthFields::default()
    }

    #[test]
    fn fields_are_taken_in_order_and_only_for_their_registry() {
        let basic = |u: &str, p: &str| {
            Some(Credentials::Basic { username: u.to_owned(), password: p.to_owned() })
        };
        assert_eq!(fields().for_registry("a.io").unwrap(), None);
        let pair = AuthFields { auth: BASE64.encode("bob:s:3"), ..fields() };
        assert_eq!(pair.for_registry("a.io").unwrap(), basic("bob", "s:3"));
        let named = AuthFields { username: "u".into(), password: "p".into(), ..fields() };
        let elsewhere = AuthFields { server_address: "b.io".into(), ..named.clone() };
        assert_eq!(elsewhere.for_registry("a.io").unwrap(), None);
        let hub = AuthFields { server_address: "https://index.docker.io/v1/".into(), ..named };
        assert_eq!(hub.for_registry("docker.io").unwrap(), basic("u", "p"));
        let bad = AuthFields { auth: "hunter2!".into(), ..fields() };
        let error = bad.for_registry("a.io").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = Credentials::Basic { username: "bob".into(), password: "hunter2".into() };
        let fields = AuthFields { password: "hunter2".into(), ..fields() };
        assert!(!format!("{secret:?}{fields:?}").contains("hunter2"));
    }

    #[test]
    fn a_refresh_token_is_posted_and_a_password_is_not_put_in_the_url() {
        let challenge = Challenge::Bearer {
            realm: "https://auth.io/token?x=1".to_owned(),
            service: Some("reg".to_owned()),
            scope: None,
        };
        let scope = "repository:a/b:pull";
        let identity = Credentials::IdentityToken("secret".to_owned());
        let request = token_request(&challenge, Some(&identity), scope).unwrap();
        let form = request.form.unwrap();
        assert!(form.contains("refresh_token=secret") && form.contains("grant_type=refresh_token"));
        assert!(!request.url.as_str().contains("secret"));
        let user = Credentials::Basic { username: "u".into(), password: "secret".into() };
        let request = token_request(&challenge, Some(&user), scope).unwrap();
        assert_eq!(
            request.url.as_str(),
            "https://auth.io/token?x=1&service=reg&scope=repository%3Aa%2Fb%3Apull"
        );
        assert!(request.authorization.unwrap().is_sensitive());
    }
}
