// SPDX-License-Identifier: Apache-2.0
//! Who the first process is.

use crisp_cri as v1;

use super::scalars::{Invalid, kernel_id, no_nul, unknown_number};
use crate::containers::spec::{GroupsPolicy, RunAs};

/// A group alone names nobody, and a user is named only once.
pub(super) fn run_as(
    at: &str,
    uid: Option<v1::Int64Value>,
    name: String,
    gid: Option<v1::Int64Value>,
) -> Result<RunAs, Invalid> {
    let id = |field: &str, value: Option<v1::Int64Value>| {
        value.map(|v| kernel_id(&format!("{at}.{field}"), v.value)).transpose()
    };
    let gid = id("run_as_group", gid)?;
    match (id("run_as_user", uid)?, name.is_empty(), gid) {
        (Some(_), false, _) => Err(Invalid::new(
            format!("{at}.run_as_username"),
            "run_as_user and run_as_username are both given",
        )),
        (Some(uid), true, gid) => Ok(RunAs::Uid { uid, gid }),
        (None, false, gid) => {
            no_nul(&format!("{at}.run_as_username"), name.as_bytes())?;
            Ok(RunAs::Name { name, gid })
        }
        (None, true, None) => Ok(RunAs::Image),
        (None, true, Some(_)) => Err(group_without_user(at)),
    }
}

pub(super) fn group_without_user(at: &str) -> Invalid {
    Invalid::new(format!("{at}.run_as_group"), "a group is given without a user")
}

pub(super) fn groups(at: &str, groups: &[i64]) -> Result<Vec<u32>, Invalid> {
    let field = format!("{at}.supplemental_groups");
    groups.iter().map(|g| kernel_id(&field, *g)).collect()
}

pub(super) fn groups_policy(at: &str, number: i32) -> Result<GroupsPolicy, Invalid> {
    match v1::SupplementalGroupsPolicy::try_from(number) {
        Ok(v1::SupplementalGroupsPolicy::Merge) => Ok(GroupsPolicy::Merge),
        Ok(v1::SupplementalGroupsPolicy::Strict) => Ok(GroupsPolicy::Strict),
        Err(e) => Err(unknown_number(&format!("{at}.supplemental_groups_policy"), e.0)),
    }
}

pub(super) fn groups_policy_to_cri(policy: GroupsPolicy) -> v1::SupplementalGroupsPolicy {
    match policy {
        GroupsPolicy::Merge => v1::SupplementalGroupsPolicy::Merge,
        GroupsPolicy::Strict => v1::SupplementalGroupsPolicy::Strict,
    }
}

pub(super) fn int64(value: Option<u32>) -> Option<v1::Int64Value> {
    value.map(|v| v1::Int64Value { value: v.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(value: i64) -> Option<v1::Int64Value> {
        Some(v1::Int64Value { value })
    }

    #[test]
    fn user_zero_is_not_no_user() {
        assert_eq!(run_as("x", None, String::new(), None), Ok(RunAs::Image));
        let root = RunAs::Uid { uid: 0, gid: Some(0) };
        assert_eq!(run_as("x", some(0), String::new(), some(0)), Ok(root));
    }

    #[test]
    fn a_group_needs_a_user_of_either_kind() {
        let error = run_as("x", None, String::new(), some(5)).unwrap_err();
        assert_eq!(error.field, "x.run_as_group");
        let named = RunAs::Name { name: "ada".into(), gid: Some(5) };
        assert_eq!(run_as("x", None, "ada".into(), some(5)), Ok(named));
    }

    #[test]
    fn a_user_is_given_by_number_or_by_name_never_both() {
        assert!(run_as("x", some(0), "root".into(), None).is_err());
    }

    #[test]
    fn ids_that_the_kernel_does_not_have_are_refused() {
        for id in [-1, i64::from(u32::MAX), i64::MAX] {
            assert!(run_as("x", some(id), String::new(), None).is_err(), "{id}");
            assert!(groups("x", &[id]).is_err(), "{id}");
        }
    }
}
