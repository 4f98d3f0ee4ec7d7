// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A rule that is added while frames take the lane closes it for them: no frame
// that is sent after ovs-ofctl has ended arrives for long. One that is deleted
// opens it again.
func TestRuleChange(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	w.laneBetween(a, b)
	stop, sent, got := make(chan struct{}), make(chan []time.Time), make(chan map[int]bool)
	go func() {
		var at []time.Time
		for {
			select {
			case <-stop:
				sent <- at
				return
			case <-time.After(200 * time.Microsecond):
			}
			if err := a.port.Send(a.frameTo(b.mac, frame.Payload(binary.BigEndian.AppendUint64(nil, uint64(len(at)))))); err != nil {
				t.Error(err)
			}
			at = append(at, time.Now())
		}
	}()
	go func() {
		arrived := make(map[int]bool)
		for {
			f, err := b.port.Recv(300 * time.Millisecond)
			if err != nil {
				select {
				case got <- arrived:
					return
				case <-time.After(time.Millisecond):
					continue
				}
			}
			if p, err := frame.Parse(f); err == nil && p.EtherType == frame.TypeIPv4 && len(p.Payload) >= 36 {
				arrived[int(binary.BigEndian.Uint64(p.Payload[28:]))] = true
			}
		}
	}()
	time.Sleep(500 * time.Millisecond)
	adding := time.Now()
	_, err := w.Ofctl("add-flow", "br0", "priority=100,ip,dl_src="+a.mac.String()+",actions=drop")
	w.must(err)
	added := time.Now()
	time.Sleep(limit(500 * time.Millisecond))
	close(stop)
	times, arrived := <-sent, <-got
	leaked, last, before, window := 0, time.Duration(0), 0, time.Duration(0)
	for n, at := range times {
		if arrived[n] && at.After(adding) {
			window = at.Sub(adding)
		}
		switch {
		case at.Before(added) && arrived[n]:
			before++
		case arrived[n]:
			leaked++
			last = at.Sub(added)
		}
	}
	t.Logf("%d frames arrived before the rule; the last one was sent %v after ovs-ofctl add-flow began, which took %v", before, window, added.Sub(adding))
	t.Logf("%d frames arrived that were sent after it had ended, the last one %v later", leaked, last)
	if before < 100 || last > limit(100*time.Millisecond) {
		t.Error("the rule was not there in time")
	}
	w.eventually(func() error {
		if r := w.rules()["0 100 ip,dl_src="+a.mac.String()]; r.Verdict != "drop" {
			return fmt.Errorf("the rule is %+v", r)
		}
		return nil
	})
	w.dropped(a.port, a.frameTo(b.mac), "dropped")

	_, err = w.Ofctl("--strict", "del-flows", "br0", "priority=100,ip,dl_src="+a.mac.String())
	w.must(err)
	deleted := time.Now()
	w.must(lab.Eventually(settle, func() error {
		_, p := w.send(a.port, a.frameTo(b.mac), "v2")
		if p.lane < burst-3 {
			return fmt.Errorf("%s", p)
		}
		return nil
	}))
	t.Logf("on the lane again %v after ovs-ofctl del-flows had ended, at the latest", time.Since(deleted))
	w.laneBetween(a, b)
}

// A bridge whose rules change all the time stays with OVS, and costs no other
// bridge the lane.
func TestRulesThatChangeAllTheTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.must(w.AddBridge("br9", "external_ids:xdp-offload=on"))
	w.open(a, b)
	before := w.counts()
	for began := time.Now(); time.Since(began) < 8*time.Second; {
		_, err := w.Ofctl("add-flow", "br9", fmt.Sprintf("priority=%d,actions=drop", 1+time.Now().UnixMilli()%1000))
		w.must(err)
		w.must(a.port.Send(a.frameTo(b.mac)))
	}
	p := before.to(w.counts(), "v1")
	w.ofStarved(&p)
	if n := p.reasons["lane"] + p.reasons["keepalive"]; n < 20 || n != p.lane+p.passed {
		t.Errorf("beside the other bridge: %s", p)
	}
	if n := logged(w.daemon, "lane closed"); n > 0 {
		t.Errorf("the lane was closed %d times", n)
	}
}
