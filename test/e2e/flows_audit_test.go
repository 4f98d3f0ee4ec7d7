// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// retag changes the tag that frames of a flow leave with, in the kernel's memory:
// buckets of four of each of from, to and flow (struct flow_bucket in
// bpf/src/layout.h).
func (m *memory) retag(src, dst ovs.MAC, vlan ovs.VLAN) error {
	const address = ^uint64(0xffff)
	number := func(m ovs.MAC) (n uint64) {
		for i, b := range m {
			n |= uint64(b) << (56 - 8*i)
		}
		return n
	}
	changed := 0
	for i := 0; i < len(m.words); i += 4 * bucketRows {
		for j := range bucketRows {
			if m.words[i+j]&address != number(src) || m.words[i+bucketRows+j]&address != number(dst) {
				continue
			}
			word := &m.words[i+2*bucketRows+j]
			for {
				was := atomic.LoadUint64(word)
				if atomic.CompareAndSwapUint64(word, was, was&^(0xffff<<16)|uint64(vlan)<<16) {
					break
				}
			}
			changed++
		}
	}
	if changed == 0 {
		return errors.New("there is no flow from " + src.String() + " to " + dst.String())
	}
	return nil
}

// A flow that gives frames another tag than OVS would closes the lane of both bridges
// that share it, and OVS delivers from then on.
func TestFlowsAudit(t *testing.T) {
	t.Parallel()
	p := openPair(t)
	p.expectsAudit = true
	m, err := mapOf(p.daemon.PID, "flows", 32*bucketRows)
	p.must(err)
	t.Cleanup(func() { p.must(m.close()) })
	p.must(m.retag(p.vm1.MAC, p.far, 300))
	b, want := p.out(p.vm1, 100, frame.UDP4)
	got, _ := p.send(p.vm1, b)
	wrong := 0
	for _, f := range got["uplink"] {
		if string(f) == string(frame.UDP4(p.far, p.vm1.MAC, frame.OnVLAN(300))) {
			wrong++
		}
	}
	if wrong == 0 {
		t.Fatal("the planted tag is on no frame: the test proves nothing")
	}
	p.eventually(func() error {
		p.must(p.vm1.Send(b)) // the flow stays
		s, err := p.Status()
		if err != nil {
			return err
		}
		for _, name := range []string{"br-int", "br-ex"} {
			if br := bridgeOf(s, name); br.State != "refused" || br.Refusals[0].Reason != "audit" {
				return errors.New(name + " is " + br.State)
			}
		}
		if found := bridgeOf(s, "br-int").Audit.Found; found == nil || !strings.Contains(found.Detail, "the lane sends it to uplink with tag 300, OVS sends it to uplink with tag 100") {
			t.Errorf("found %+v", found)
		}
		return nil
	})
	p.drain(quiet)
	p.left(p.vm1, p.uplink, b, want)
}
