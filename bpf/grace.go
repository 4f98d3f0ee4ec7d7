// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// gracePeriod waits until every BPF program that runs now has ended (RCU).
// The kernel waits so after each update of a map of maps
// (maybe_wait_bpf_programs in kernel/bpf/syscall.c); the maps themselves hold
// nothing.
type gracePeriod struct {
	outer, inner *ebpf.Map
}

func newGracePeriod() (*gracePeriod, error) {
	inner := &ebpf.MapSpec{Name: "grace_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	in, err := ebpf.NewMap(inner)
	if err != nil {
		return nil, fmt.Errorf("make map to wait with: %w", err)
	}
	out, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "grace_outer", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make map of maps to wait with: %w", err), in.Close())
	}
	return &gracePeriod{outer: out, inner: in}, nil
}

// Wait returns when every program that was running when it was called has
// ended: some milliseconds.
func (g *gracePeriod) Wait() error {
	if err := g.outer.Update(uint32(0), g.inner, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("wait for running BPF programs: %w", err)
	}
	return nil
}

func (g *gracePeriod) Close() error { return errors.Join(g.outer.Close(), g.inner.Close()) }
