// SPDX-License-Identifier: Apache-2.0
//! A case: a name that never changes, and a function that judges one statement.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::fixture::Test;

/// What the body of a case returns.
pub type Outcome = anyhow::Result<()>;

type Body = fn(Test) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One statement about the endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The part before the slash of [`Case::name`].
    pub group: &'static str,
    /// `group/what it asserts`, stable: expectation files name cases by it.
    pub name: &'static str,
    /// Runs the case.
    pub body: Body,
    /// Touches what other cases see (images, all pods of the node): runs alone.
    pub alone: bool,
    /// A case that takes longer has failed.
    pub limit: Duration,
}

impl Case {
    pub const fn new(group: &'static str, name: &'static str, body: Body) -> Self {
        Self { group, name, body, alone: false, limit: Duration::from_secs(90) }
    }

    /// Marks a case that must run alone.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Gives a case that must wait for real time more of it.
    pub const fn slow(mut self) -> Self {
        self.limit = Duration::from_secs(240);
        self
    }
}

/// Declares the table of a file: `cases! { "group"; "what it asserts" [alone] => function, … }`.
macro_rules! cases {
    ($group:literal; $($name:literal $([$($flag:ident),*])? => $body:path,)*) => {
        /// The cases of this group.
        pub const CASES: &[$crate::case::Case] = &[$(
            $crate::case::Case::new($group, concat!($group, "/", $name), |t| Box::pin($body(t)))
                $($(.$flag())*)?,
        )*];
    };
}
pub(crate) use cases;

/// The error of a case that cannot be judged here; says why.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends a case that cannot be judged here.
pub fn skip<T>(why: impl Into<String>) -> anyhow::Result<T> {
    Err(Skip(why.into()).into())
}
