// SPDX-License-Identifier: Apache-2.0

package bpf

// XDPPrograms are the names, as the kernel has them, of the programs on devices;
// those of all versions so far.
var XDPPrograms = []string{laneProgOvsXdp, laneProgOvsXdpVeth}

// OtherPrograms are those on tracepoints. They live no longer than the process
// that has loaded them.
var OtherPrograms = lossPrograms
