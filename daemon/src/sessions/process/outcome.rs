// SPDX-License-Identifier: Apache-2.0
//! What a client is told when all is over. Pure.

use serde_json::json;

use super::handshake::Status;

/// How a session's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an exit code; an attachment ends with 0.
    Exited(u32),
    /// It never ran, or was lost.
    Failed(String),
}

impl Outcome {
    /// What goes to the error stream; may be nothing.
    pub(super) fn write(&self, form: Status) -> Vec<u8> {
        match (form, self) {
            (Status::Text, Self::Exited(0)) => Vec::new(),
            (Status::Text, Self::Exited(code)) => exit_text(*code).into_bytes(),
            (Status::Text, Self::Failed(text)) => text.clone().into_bytes(),
            (Status::Json, _) => self.json().to_string().into_bytes(),
        }
    }

    /// The Kubernetes `Status` that clients look for.
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Exited(0) => json!({ "metadata": {}, "status": "Success" }),
            Self::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": exit_text(*code),
                // Clients read it as a number from 0 to 255.
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Self::Failed(text) => json!({
                "metadata": {},
                "status": "Failure",
                "reason": "InternalError",
                "message": text,
                "code": 500,
            }),
        }
    }
}

fn exit_text(code: u32) -> String {
    format!("command terminated with non-zero exit code: {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_a_cause_in_json_and_words_in_text() {
        let status = Outcome::Exited(7).write(Status::Json);
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["reason"], "NonZeroExitCode");
        let cause = json!({ "reason": "ExitCode", "message": "7" });
        assert_eq!(status["details"]["causes"][0], cause);
        let text = Outcome::Exited(7).write(Status::Text);
        assert!(String::from_utf8(text).unwrap().ends_with("code: 7"));
    }

    #[test]
    fn success_is_said_in_json_and_silent_in_text() {
        let status = Outcome::Exited(0).write(Status::Json);
        assert_eq!(status, br#"{"metadata":{},"status":"Success"}"#);
        assert!(Outcome::Exited(0).write(Status::Text).is_empty());
    }

    #[test]
    fn a_failure_carries_its_text() {
        let status = Outcome::Failed("no such file".into()).write(Status::Json);
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        assert_eq!((&status["reason"], &status["code"]), (&json!("InternalError"), &json!(500)));
        assert_eq!(status["message"], "no such file");
    }
}
