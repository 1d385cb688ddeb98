// SPDX-License-Identifier: Apache-2.0

use super::Failed;

/// Internal verb: the helper process of the sandbox.
pub(super) fn run() -> Result<(), Failed> {
    Ok(crate::sandbox::make_namespaces()?)
}
