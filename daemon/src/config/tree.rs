// SPDX-License-Identifier: Apache-2.0
//! What a file says, before it is known what it should say: a tree of values that remember where
//! they were written.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{Problem, ProblemKind};

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) file: Arc<PathBuf>,
    pub(super) line: usize,
}

impl Origin {
    pub(super) fn problem(&self, kind: ProblemKind) -> Problem {
        Problem { file: Arc::clone(&self.file), line: self.line, kind }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

pub(super) type Table = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Value>),
    Table(Table),
    /// A kind of value that no key takes, or a number beyond 64 bits.
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", quote(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Table(_) => f.write_str("a table"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// `text` as a TOML string.
pub(super) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Reads one file.
pub(super) fn parse(file: &Path, text: &str) -> Result<Node, Vec<Problem>> {
    let lines = Lines { file: Arc::new(file.to_owned()), text };
    let root = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |s| s.start);
        vec![lines.origin(at).problem(ProblemKind::Syntax(e.message().to_owned()))]
    })?;
    let mut table = lines.table(root.get_ref());
    hoist_crio(&mut table)?;
    Ok(Node { origin: lines.origin(0), value: Value::Table(table) })
}

struct Lines<'a> {
    file: Arc<PathBuf>,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        Origin { file: Arc::clone(&self.file), line }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), self.node(key, value)))
            .collect()
    }

    fn node(&self, key: &Spanned<impl Sized>, value: &Spanned<DeValue<'_>>) -> Node {
        Node { origin: self.origin(key.span().start), value: self.value(value.get_ref()) }
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Other(number.to_string()), Value::Number),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Float(number) => Value::Other(number.to_string()),
            DeValue::Datetime(time) => Value::Other(time.to_string()),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|i| self.value(i.get_ref())).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// Moves what is under `[crio]` to where crisp's own spelling has it.
fn hoist_crio(table: &mut Table) -> Result<(), Vec<Problem>> {
    let is_table = |n: &Node| matches!(n.value, Value::Table(_));
    if !table.get("crio").is_some_and(is_table) {
        return Ok(());
    }
    let Some(Node { value: Value::Table(crio), .. }) = table.remove("crio") else {
        return Ok(());
    };
    let mut problems = Vec::new();
    merge_table(table, crio, "", &mut |key, node| {
        problems.push(node.origin.problem(ProblemKind::Twice { key: key.to_owned() }));
    });
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Lays `over` on `base`: tables are merged, everything else is replaced.
pub(super) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Table(base), Value::Table(over)) => merge_table(base, over, "", &mut |_, _| {}),
        (base_value, value) => {
            *base_value = value;
            base.origin = over.origin;
        }
    }
}

fn merge_table(base: &mut Table, over: Table, path: &str, replaced: &mut dyn FnMut(&str, &Node)) {
    for (key, node) in over {
        let path = join(path, &key);
        match base.entry(key) {
            btree_map::Entry::Vacant(slot) => {
                slot.insert(node);
            }
            btree_map::Entry::Occupied(mut slot) => match (&mut slot.get_mut().value, node.value) {
                (Value::Table(base), Value::Table(over)) => {
                    merge_table(base, over, &path, replaced);
                }
                (_, value) => {
                    let node = Node { origin: node.origin, value };
                    replaced(&path, &node);
                    slot.insert(node);
                }
            },
        }
    }
}

/// The path of `key` in the table at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Node {
    /// The node at the end of `path`.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Node> {
        let Some((key, rest)) = path.split_first() else {
            return Some(self);
        };
        match &self.value {
            Value::Table(table) => table.get(*key)?.find(rest),
            _ => None,
        }
    }
}
