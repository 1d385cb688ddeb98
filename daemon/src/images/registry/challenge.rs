// SPDX-License-Identifier: Apache-2.0
//! `WWW-Authenticate` (RFC 9110 11.6.1): what a registry wants to see.

use std::collections::BTreeMap;

/// A way to log in that the registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from elsewhere (distribution project, "token authentication").
    Bearer {
        /// URL that gives tokens.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it should allow.
        scope: Option<String>,
    },
}

/// Reads a header's value; schemes we cannot use are passed over.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scheme = String::new();
    let mut parameters = BTreeMap::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = take_value(value.trim_start());
            parameters.insert(word.to_ascii_lowercase(), value);
            rest = after;
        } else {
            found.extend(challenge(&scheme, std::mem::take(&mut parameters)));
            scheme = word.to_ascii_lowercase();
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
        if end == 0 && !after.starts_with('=') {
            break;
        }
    }
    found.extend(challenge(&scheme, parameters));
    found
}

fn challenge(scheme: &str, mut parameters: BTreeMap<String, String>) -> Option<Challenge> {
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    }
}

/// A quoted string with backslash escapes, or a bare token.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull,push""#;
        assert_eq!(
            parse(hub),
            [Challenge::Bearer {
                realm: "https://auth.docker.io/token".to_owned(),
                service: Some("registry.docker.io".to_owned()),
                scope: Some("repository:library/busybox:pull,push".to_owned()),
            }]
        );
        assert_eq!(parse(r#"Basic realm="a, b \"c\"""#), [Challenge::Basic]);
        let several = parse(r#"Negotiate, basic realm=x, Bearer realm = "y""#);
        assert_eq!(several.len(), 2);
        assert_eq!(several[0], Challenge::Basic);
        assert_eq!(parse("Bearer service=\"no realm\""), []);
        assert_eq!(parse(""), []);
    }

    proptest! {
        #[test]
        fn any_header_ends_in_an_answer(header in ".{0,60}|[ ,=\"\\\\a]{0,40}") {
            parse(&header);
        }
    }
}
