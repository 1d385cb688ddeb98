// SPDX-License-Identifier: Apache-2.0
//! Printing without secrets: any message may end up in a log by its `Debug` form.

use std::fmt;

use crate::AuthConfig;

/// Says whether a secret was given, never what it is.
struct Secret<'a>(&'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "(hidden)" })
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { username, password, auth, server_address, identity_token, registry_token } =
            self;
        f.debug_struct("AuthConfig")
            .field("username", username)
            .field("password", &Secret(password))
            .field("auth", &Secret(auth))
            .field("server_address", server_address)
            .field("identity_token", &Secret(identity_token))
            .field("registry_token", &Secret(registry_token))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{AuthConfig, PullImageRequest};

    #[test]
    fn a_printed_pull_request_shows_no_secret() {
        let request = PullImageRequest {
            auth: Some(AuthConfig {
                username: "ada".into(),
                password: "SECRET".into(),
                auth: "SECRET".into(),
                server_address: "registry.example".into(),
                identity_token: "SECRET".into(),
                registry_token: "SECRET".into(),
            }),
            ..Default::default()
        };
        for text in [format!("{request:?}"), format!("{request:#?}")] {
            assert!(!text.contains("SECRET"), "{text}");
            assert!(text.contains("ada") && text.contains("registry.example"), "{text}");
        }
    }
}
