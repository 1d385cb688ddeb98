// SPDX-License-Identifier: Apache-2.0
//! A section of the configuration: a struct whose fields are keys. [`section!`] derives reading
//! and printing from the list of fields.

use std::collections::BTreeMap;

use super::{
    error::{Problem, ProblemKind},
    nearest::nearest,
    tree::{Node, Table, Value, join},
};

/// What can stand behind a key: a single value or a table.
pub(super) trait Entry {
    /// Takes the value from `node`; what is wrong with it goes to `problems`.
    fn read(&mut self, node: &Node, path: &str, problems: &mut Vec<Problem>);
    /// Writes the key and its comment.
    fn print(&self, path: &str, comment: &[&str], printer: &mut Printer);
}

/// A table of keys.
pub(super) trait Section {
    /// Names of the keys.
    const KEYS: &'static [&'static str];
    fn read_keys(&mut self, table: &Table, path: &str, problems: &mut Vec<Problem>);
    fn print_keys(&self, path: &str, printer: &mut Printer);
}

/// Declares a section. Doc comments are both the documentation and the comments of the printed
/// file; the expression after `=` is the default.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $field:ident: $type:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::config::section::Section for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn read_keys(
                &mut self,
                table: &$crate::config::tree::Table,
                path: &str,
                problems: &mut Vec<$crate::config::Problem>,
            ) {
                use $crate::config::{section::Entry, tree::join};
                $(
                    if let Some(node) = table.get(stringify!($field)) {
                        self.$field.read(node, &join(path, stringify!($field)), problems);
                    }
                )+
            }

            fn print_keys(&self, path: &str, printer: &mut $crate::config::section::Printer) {
                use $crate::config::{section::Entry, tree::join};
                $( self.$field.print(&join(path, stringify!($field)), &[$($doc),+], printer); )+
            }
        }
    };
}
pub(super) use section;

impl<S: Section> Entry for S {
    fn read(&mut self, node: &Node, path: &str, problems: &mut Vec<Problem>) {
        let Value::Table(table) = &node.value else {
            problems.push(not_a_table(node, path));
            return;
        };
        for (key, node) in table.iter().filter(|(key, _)| !S::KEYS.contains(&key.as_str())) {
            let key_path = join(path, key);
            let nearest = nearest(key, S::KEYS.iter().copied())
                .map(|key| join(path, key))
                .or_else(|| super::keys::elsewhere(key));
            problems.push(node.origin.problem(ProblemKind::UnknownKey { key: key_path, nearest }));
        }
        self.read_keys(table, path, problems);
    }

    fn print(&self, path: &str, comment: &[&str], printer: &mut Printer) {
        printer.header(path, comment);
        self.print_keys(path, printer);
    }
}

/// Tables under names that the user chooses.
impl<S: Section + Default> Entry for BTreeMap<String, S> {
    fn read(&mut self, node: &Node, path: &str, problems: &mut Vec<Problem>) {
        let Value::Table(table) = &node.value else {
            problems.push(not_a_table(node, path));
            return;
        };
        for (name, node) in table {
            self.entry(name.clone()).or_default().read(node, &join(path, name), problems);
        }
    }

    fn print(&self, path: &str, comment: &[&str], printer: &mut Printer) {
        if self.is_empty() {
            printer.example(&S::default(), &join(path, "NAME"), comment);
        }
        for (name, section) in self {
            section.print(&join(path, &bare_or_quoted(name)), comment, printer);
        }
    }
}

fn bare_or_quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { super::tree::quote(key) }
}

fn not_a_table(node: &Node, path: &str) -> Problem {
    node.origin.problem(ProblemKind::Value {
        key: path.to_owned(),
        value: node.value.to_string(),
        reason: format!("must be a table: write [{path}]"),
    })
}

/// Writes a configuration file.
#[derive(Debug, Default)]
pub(super) struct Printer {
    text: String,
    margin: &'static str,
}

impl Printer {
    pub(super) fn root(&mut self, root: &impl Section) {
        root.print_keys("", self);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        let line = format!("{}{line}", self.margin);
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn comment(&mut self, comment: &[&str]) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        for line in comment {
            self.line(&format!("#{line}"));
        }
    }

    fn header(&mut self, path: &str, comment: &[&str]) {
        self.comment(comment);
        self.line(&format!("[{path}]"));
    }

    /// Writes `key = value` with its comment; `value` is TOML.
    pub(super) fn value(&mut self, path: &str, comment: &[&str], value: &str) {
        self.comment(comment);
        let key = path.rsplit('.').next().unwrap_or(path);
        self.line(&format!("{key} = {value}"));
    }

    /// Writes a table as comments.
    fn example(&mut self, section: &impl Section, path: &str, comment: &[&str]) {
        self.comment(comment);
        self.margin = "# ";
        self.line(&format!("[{path}]"));
        section.print_keys(path, self);
        self.margin = "";
    }
}
