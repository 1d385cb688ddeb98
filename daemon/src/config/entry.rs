// SPDX-License-Identifier: Apache-2.0
//! The kinds of values keys take, each with its own check.

use std::{
    fmt::Display,
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    error::{Problem, ProblemKind},
    section::{Entry, Printer},
    tree::{Node, Value, quote},
};

/// A value that fits on one line.
pub(super) trait Setting: Sized {
    /// Takes `value`, or says what is expected instead.
    fn from_value(value: &Value) -> Result<Self, String>;
    /// The value as TOML.
    fn to_toml(&self) -> String;
}

macro_rules! entries {
    ($($type:ty),+ $(,)?) => {$(
        impl Entry for $type {
            fn read(&mut self, node: &Node, path: &str, problems: &mut Vec<Problem>) {
                read_setting(self, node, path, problems);
            }

            fn print(&self, path: &str, comment: &[&str], printer: &mut Printer) {
                printer.value(path, comment, &self.to_toml());
            }
        }
    )+};
}
pub(super) use entries;

entries!(
    String,
    Vec<String>,
    PathBuf,
    Option<PathBuf>,
    Vec<PathBuf>,
    bool,
    u16,
    u32,
    NonZeroU32,
    Duration,
    Option<Duration>,
    IpAddr,
    PortRange,
);

pub(super) fn read_setting<S: Setting>(
    setting: &mut S,
    node: &Node,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    match S::from_value(&node.value) {
        Ok(value) => *setting = value,
        Err(reason) => problems.push(node.origin.problem(ProblemKind::Value {
            key: path.to_owned(),
            value: node.value.to_string(),
            reason,
        })),
    }
}

impl Setting for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Flag(flag) => Ok(*flag),
            _ => Err("must be true or false".into()),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err("must be a string".into()),
        }
    }

    fn to_toml(&self) -> String {
        quote(self)
    }
}

impl Setting for PathBuf {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if Path::new(text).is_absolute() => Ok(text.into()),
            _ => Err("must be an absolute path".into()),
        }
    }

    fn to_toml(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

/// An empty string is no path.
impl Setting for Option<PathBuf> {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text.is_empty() => Ok(None),
            Value::Text(text) if Path::new(text).is_absolute() => Ok(Some(text.into())),
            _ => Err("must be an absolute path, or empty".into()),
        }
    }

    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quote(""), Setting::to_toml)
    }
}

/// A number that fits, of a type whose largest value is `most`.
fn whole<T: TryFrom<i64> + Display>(value: &Value, most: T) -> Result<T, String> {
    match value {
        Value::Number(number) => T::try_from(*number).ok(),
        _ => None,
    }
    .ok_or_else(|| format!("must be a whole number from 0 to {most}"))
}

impl Setting for u16 {
    fn from_value(value: &Value) -> Result<Self, String> {
        whole(value, Self::MAX)
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        whole(value, Self::MAX)
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Setting for NonZeroU32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        u32::from_value(value)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| format!("must be a whole number from 1 to {}", Self::MAX))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Setting for IpAddr {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| "must be an IP address".into())
    }

    fn to_toml(&self) -> String {
        quote(&self.to_string())
    }
}

/// Ports, the last included; 0 is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not before the first.
    pub last: u16,
}

impl Setting for PortRange {
    fn from_value(value: &Value) -> Result<Self, String> {
        let parse = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            // 0 stands for itself: a range that begins with it is a mistake.
            (first == last || (0 < first && first < last)).then_some(Self { first, last })
        };
        match value {
            Value::Text(text) => parse(text),
            Value::Number(number) => parse(&number.to_string()),
            _ => None,
        }
        .ok_or_else(|| "must be a port, or a range of them such as \"10300-10399\"".into())
    }

    fn to_toml(&self) -> String {
        quote(&if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}-{}", self.first, self.last)
        })
    }
}

/// Longest time a key takes, seconds.
const MOST_SECONDS: u32 = 24 * 60 * 60;

/// Seconds, at least one.
impl Setting for Duration {
    fn from_value(value: &Value) -> Result<Self, String> {
        match u32::from_value(value) {
            Ok(seconds @ 1..=MOST_SECONDS) => Ok(Self::from_secs(seconds.into())),
            _ => Err(format!("must be whole seconds from 1 to {MOST_SECONDS}")),
        }
    }

    fn to_toml(&self) -> String {
        self.as_secs().to_string()
    }
}

/// Seconds; 0 is none.
impl Setting for Option<Duration> {
    fn from_value(value: &Value) -> Result<Self, String> {
        match u32::from_value(value) {
            Ok(0) => Ok(None),
            Ok(seconds @ 1..=MOST_SECONDS) => Ok(Some(Duration::from_secs(seconds.into()))),
            _ => Err(format!("must be whole seconds from 1 to {MOST_SECONDS}, or 0 for none")),
        }
    }

    fn to_toml(&self) -> String {
        self.map_or_else(|| "0".to_owned(), |time| time.to_toml())
    }
}

impl<S: Setting> Setting for Vec<S> {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::List(items) => items
                .iter()
                .map(|item| S::from_value(item).map_err(|reason| format!("{item} {reason}")))
                .collect(),
            _ => Err("must be an array".into()),
        }
    }

    fn to_toml(&self) -> String {
        let items: Vec<_> = self.iter().map(Setting::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Declares a setting that is one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// The word in the file.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::config::entry::Setting for $name {
            fn from_value(value: &$crate::config::tree::Value) -> Result<Self, String> {
                match value {
                    $( $crate::config::tree::Value::Text(text) if text == $word => {
                        Ok(Self::$variant)
                    } )+
                    _ => Err(format!("must be one of {}", [$($word),+].join(", "))),
                }
            }

            fn to_toml(&self) -> String {
                $crate::config::tree::quote(self.word())
            }
        }
    };
}
pub(super) use choice;
