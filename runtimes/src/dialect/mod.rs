// SPDX-License-Identifier: Apache-2.0
//! One file per runtime: only what is not the same for all of them.

mod crun;
mod runc;
mod runsc;
mod youki;

use crate::{Abilities, Argv, Bundle, Failure, Kind};

/// What a runtime does its own way.
pub(crate) trait Dialect {
    /// Arguments of `create`, between the verb and the id.
    fn create(&self, argv: Argv, bundle: Bundle<'_>) -> Argv {
        argv.pair("--bundle", bundle.dir).pair("--pid-file", bundle.pid_file).tty(bundle.tty)
    }

    /// What an error text means; `None` when it is no text of a known kind.
    fn failure(&self, text: &str) -> Option<Failure>;

    /// What a version without a `features` command can do, from the output of `--version`.
    fn abilities_of_version(&self, version: &str) -> Abilities;
}

pub(crate) fn of(kind: Kind) -> &'static dyn Dialect {
    match kind {
        Kind::Runc => &runc::Runc,
        Kind::Crun => &crun::Crun,
        Kind::Youki => &youki::Youki,
        Kind::Runsc => &runsc::Runsc,
    }
}

/// The failure that belongs to the first row with a text contained in `text`.
fn first_match(text: &str, rows: &[(&str, Failure)]) -> Option<Failure> {
    rows.iter().find(|(part, _)| text.contains(part)).map(|(_, failure)| failure.clone())
}
