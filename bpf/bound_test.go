// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// The verifier must not move a program that is bound to a device: Linux crashed
// when such a device went (page fault in __bpf_prog_offload_destroy, 6.18).
func TestBoundProgramIsNotMoved(t *testing.T) {
	if !lab.TagsTold() {
		t.Log("this kernel binds no program to a veth")
		return
	}
	for _, finish := range []bool{false, true} {
		w := newWorld(t, 2, Config{FinishChecksums: finish})
		prog, err := w.lane.loadBound(w.dev[0])
		w.must(err)
		defer prog.Close()
		info, err := prog.Info()
		w.must(err)
		size, err := info.TranslatedSize()
		w.must(err)
		t.Logf("%d instructions loaded, %d bytes in the kernel", len(w.lane.spec.Programs[laneProgOvsXdpVeth].Instructions), size)
		if err := unmoved(prog, size/8-512); err == nil {
			t.Error("a program that has outgrown its memory is not noticed")
		}
	}
}
