// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Without a key the daemon does nothing; observe counts and passes; on
// redirects; and each can follow each while frames flow.
func TestModes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.state("off")
	w.hello(a)
	w.hello(b)
	w.bridgeBetween(a, b)
	w.noPrograms()

	observe := func() {
		t.Helper()
		w.mode("observe")
		w.announce(a, "lane")
		w.announce(b, "lane")
		f := a.frameTo(b.mac)
		p := w.bridge(a.port, f, map[string][]byte{"t1": f})
		if p.would < burst-3 || p.would > burst {
			t.Errorf("observe mode: %s", p)
		}
	}
	observe()
	w.open(a, b)
	w.mode("off")
	w.noPrograms()
	w.bridgeBetween(a, b)
	w.open(a, b)
	observe()

	// The key is removed.
	_, err := w.OVS("remove", "bridge", "br0", "external_ids", "xdp-offload")
	w.must(err)
	w.state("off")
	w.noPrograms()
	w.bridgeBetween(a, b)
}

// A value that cannot be read means off, and status says which it is.
func TestBadValues(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{"xdp-offload": "yes", "xdp-canary": "many", "xdp-vlans": "ten"} {
		t.Run(key, func(t *testing.T) {
			w := newWorld(t)
			a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
			w.mode("on")
			w.announce(a, "lane")
			w.announce(b, "lane")
			w.laneBetween(a, b)
			w.set("external_ids:" + key + "=" + value)
			s := w.state("off")
			if errs := strings.Join(s.Errors, "; "); !strings.Contains(errs, key) || !strings.Contains(errs, value) {
				t.Errorf("errors of br0 don't name the key %s and its value %s: %q", key, value, errs)
			}
			w.bridgeBetween(a, b)
			w.noPrograms()
		})
	}
}

func TestSomeVLANs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a10, b10 := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	a20, b20 := untagged(w.veth("v2", "tag=20"), 20), untagged(w.tap("t2", "tag=20"), 20)
	w.set("external_ids:xdp-vlans=20-29")
	w.mode("on")
	for _, s := range []station{a10, b10} {
		w.hello(s)
	}
	for _, s := range []station{a20, b20} {
		w.announce(s, "lane")
	}
	w.laneBetween(a20, b20)
	w.bridgeBetween(a10, b10)
}

func TestCanaryOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.set("external_ids:xdp-canary=0")
	w.mode("on")
	w.hello(a)
	w.hello(b)
	w.bridgeBetween(a, b)
	w.set("external_ids:xdp-canary=100")
	w.row(a, "lane")
	w.row(b, "lane")
	w.laneBetween(a, b)
}

func TestPortOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	c := untagged(w.veth("v2", "tag=10", "external_ids:xdp-offload=off"), 10)
	w.mode("on")
	for _, s := range []station{a, b} {
		w.announce(s, "lane")
	}
	w.hello(c)
	w.laneBetween(a, b)
	w.bridgeBetween(a, c)
	w.bridgeBetween(b, c)
	if programs, err := w.Hypervisor.XDPPrograms(); err != nil || programs["v2"] != "" {
		t.Errorf("a port that is off has the program %q, error %v", programs["v2"], err)
	}
	_, err := w.OVS("remove", "port", "v2", "external_ids", "xdp-offload")
	w.must(err)
	w.announce(c, "lane")
	w.laneBetween(a, c)
	// And off again, by the key of the interface.
	_, err = w.OVS("set", "interface", "v2", "external_ids:xdp-offload=off")
	w.must(err)
	w.noLaneTo(c)
	w.bridgeBetween(a, c)
}

// Frames towards a target take the lane; its own frames don't, for it has no
// program.
func TestPortTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	b := untagged(w.tap("t1", "tag=10", "external_ids:xdp-offload=target"), 10)
	w.mode("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	f := a.frameTo(b.mac)
	w.lane(a.port, b.port, f, f)
	f = b.frameTo(a.mac)
	w.bridge(b.port, f, map[string][]byte{"v1": f})
	if programs, err := w.Hypervisor.XDPPrograms(); err != nil || programs["t1"] != "" || programs["v1"] == "" {
		t.Errorf("programs %v, error %v; want one on v1 and none on t1", programs, err)
	}
}

// An OpenFlow table in which nothing leads to NORMAL takes the bridge off the lane;
// with NORMAL it opens again.
func TestRuleClosesLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.set("external_ids:xdp-lane=fdb")
	w.open(a, b)
	pipeline := []string{"priority=0,actions=load:1->NXM_NX_REG0[],resubmit(,1)", "table=1,priority=0,actions=NORMAL"}
	for _, r := range pipeline {
		_, err := w.Ofctl("add-flow", "br0", r)
		w.must(err)
	}
	w.beyondNormal()
	for _, d := range [][2]station{{a, b}, {b, a}} {
		f := d[0].frameTo(d[1].mac)
		got, p := w.send(d[0].port, f, d[1].port.Name)
		w.arrivals(got, map[string][]byte{d[1].port.Name: f})
		if p.lane != 0 || p.rules != burst {
			t.Errorf("frames should go through OVS: %s", p)
		}
	}
	_, err := w.Ofctl("add-flow", "br0", "priority=0,actions=NORMAL")
	w.must(err)
	w.state("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
}

// beyondNormal waits until br0 is refused for its OpenFlow rules.
func (w *world) beyondNormal() {
	w.t.Helper()
	w.eventually(func() error {
		if text := w.refused("br0"); !strings.HasPrefix(text, "flow-table ") {
			return fmt.Errorf("br0 is refused for %s", text)
		}
		return nil
	})
}

// What else keeps a bridge or a port out, set and taken back.
func TestConditions(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.tap("span")
	w.mode("on")
	for _, c := range []struct {
		name, subject string
		set, unset    []string
	}{
		{"mirror", "br0",
			strings.Fields("-- --id=@p get port span -- --id=@m create mirror name=m select_all=true output_port=@p -- set bridge br0 mirrors=@m"),
			strings.Fields("clear bridge br0 mirrors")},
		{"sFlow", "br0",
			strings.Fields(`-- --id=@s create sflow targets="127.0.0.1:6343" sampling=1000 -- set bridge br0 sflow=@s`),
			strings.Fields("clear bridge br0 sflow")},
		{"in-band controller", "br0", strings.Fields("set-controller br0 tcp:127.0.0.1:6653"), strings.Fields("del-controller br0")},
		{"STP", "br0/v1", strings.Fields("set bridge br0 stp_enable=true"), strings.Fields("set bridge br0 stp_enable=false")},
		{"dot1q-tunnel", "br0/v1", strings.Fields("set port v1 vlan_mode=dot1q-tunnel"), strings.Fields("clear port v1 vlan_mode")},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *w
			sub.t = t
			sub.announce(a, "lane")
			sub.announce(b, "lane")
			_, err := w.OVS(c.set...)
			sub.must(err)
			switch c.name {
			case "in-band controller":
				// The rules go with the coming of a controller: there is
				// nothing left that counts frames.
				t.Logf("the refusal: %s", sub.refused(c.subject))
			case "STP":
				// Whether the bridge or each port is refused is the daemon's
				// business; frames wait for STP to forward in any case.
				sub.eventually(func() error {
					s, err := w.Status()
					if err != nil {
						return err
					}
					br, err := s.Bridge("br0")
					if err == nil && len(br.Refusals) == 0 {
						err = fmt.Errorf("nothing is refused")
					}
					return err
				})
			default:
				t.Logf("the refusal: %s", sub.refused(c.subject))
				_, p := sub.send(a.port, a.frameTo(b.mac))
				if p.lane != 0 {
					t.Errorf("the lane is open: %s", p)
				}
			}
			_, err = w.OVS(c.unset...)
			sub.must(err)
			sub.state("on")
			sub.announce(a, "lane")
			sub.announce(b, "lane")
			sub.laneBetween(a, b)
		})
	}
}

// A device with another XDP program keeps it; status names the program.
func TestForeignProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	c := untagged(w.tap("t1", "tag=10"), 10)
	const name = "somebody_elses"
	w.must(w.Hypervisor.AttachXDP("v2", name))
	w.mode("on")
	w.announce(a, "lane")
	w.announce(c, "lane")
	w.hello(b)
	if text := w.refused("br0/v2"); !strings.Contains(text, name) {
		t.Errorf("the refusal of v2 doesn't name the program: %s", text)
	}
	f := b.frameTo(a.mac)
	w.bridge(b.port, f, map[string][]byte{"v1": f})
	w.laneBetween(a, c)
	w.stop()
	programs, err := w.Hypervisor.XDPPrograms()
	w.must(err)
	if len(programs) != 1 || programs["v2"] != name {
		t.Errorf("programs after the daemon has stopped: %v, want only %s on v2", programs, name)
	}
}

func TestOfctlPortConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.open(a, b)
	_, err := w.Ofctl("mod-port", "br0", "t1", "no-forward")
	w.must(err)
	w.refused("br0/t1")
	w.bridge(a.port, a.frameTo(b.mac), nil)
	_, err = w.Ofctl("mod-port", "br0", "t1", "forward")
	w.must(err)
	w.row(b, "lane")
	w.laneBetween(a, b)
}
