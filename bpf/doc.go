// SPDX-License-Identifier: Apache-2.0

// Package bpf owns the data path in the kernel: it loads the programs in
// bpf/src, attaches them to devices, and is the only writer of their tables.
//
// A Lane starts closed and empty. Its tables are the kernel's memory itself:
// what Ports, Rows and Flows return is what the program sees, not what was once
// written. The package knows devices by ifindex, bridges by a small number,
// and nothing of where that knowledge comes from; what should be in the tables
// is decided in sync/plan and ordered in sync/diff.
//
// A Lane is for one goroutine; Counters, Rows, Flows and ReadEvents may be used from
// others. A row or a flow that is changing its place may then be shown twice.
package bpf
