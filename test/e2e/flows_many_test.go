// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Megaflows are not read when there are so many that it would keep OVS from its
// work: a guest can make them. The bridges stay with OVS, which says why, until they
// are fewer.
func TestFlowsTooMany(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	// Frames from these addresses are dropped, by one megaflow for each.
	_, err := p.Ofctl("-O", "OpenFlow13", "add-flow", "br-int",
		"priority=100,in_port=vm3,dl_src=02:77:00:00:00:00/ff:ff:00:00:00:00,actions=move:NXM_OF_ETH_SRC[0..31]->NXM_NX_REG0[]")
	p.must(err)
	_, err = p.OVS("set", "open_vswitch", ".", "other_config:max-idle=4000")
	p.must(err)
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	p.allTaken()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := uint32(0); ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			src := ovs.MAC{0x02, 0x77}
			binary.BigEndian.PutUint32(src[2:], i%40000)
			if err := p.vm3.Send(frame.UDP4(p.vm1.MAC, src)); err != nil {
				done <- err
				return
			}
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	// OVS lets there be more and more, as fast as it can look them through.
	p.must(lab.Eventually(time.Minute*lab.Patience(), func() error {
		text, err := p.Ctl("status", "br-int")
		p.must(err)
		if !strings.Contains(text, "no flows now: OVS has more than 20000 megaflows") {
			shown, _ := p.Appctl("upcall/show")
			return fmt.Errorf("%s\n%s", text, shown)
		}
		return nil
	}))
	b, want := p.out(p.vm1, 100, frame.UDP4)
	p.left(p.vm1, p.uplink, b, want)
	close(stop)
	p.must(<-done)
	p.allTaken() // when OVS has forgotten them
}
