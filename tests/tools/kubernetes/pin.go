// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins the programs of Kubernetes that the tests run. The node suite is no program,
// so no `tool` line can name it: this import keeps what its tests need in go.sum.
package tools

import _ "k8s.io/kubernetes/test/e2e_node"
