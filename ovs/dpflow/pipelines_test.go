// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

func arp(dst, src ovs.MAC, _ ...frame.Option) []byte {
	return frame.ARPRequest(src, frame.IP4(src), frame.IP4(dst))
}

// A bridge that switches by addresses.
func TestOpenVSwitchNormal(t *testing.T) {
	w := newWorld(t)
	w.bridge("br0")
	w.taps("br0", "vm1 tag=10", "vm2 tag=10", "vm3 tag=20", "trunk", "native vlan_mode=native-untagged tag=10")
	tags := func(tags ...frame.Tag) []frame.Option { return []frame.Option{frame.Tagged(tags...)} }
	for _, p := range w.ports {
		var opts []frame.Option
		if p.Name == "trunk" {
			opts = tags(frame.Tag{VID: 10})
		}
		w.must(p.Send(frame.UDP4(frame.Broadcast, p.MAC, opts...)))
	}
	w.must(w.ports["trunk"].Send(frame.UDP4(frame.Broadcast, w.mac("trunk"), frame.OnVLAN(20))))
	time.Sleep(200 * time.Millisecond)
	w.check(t, "br0", map[string]sent{
		"access to access":    {from: "vm1", to: "vm2", lane: "vm2"},
		"IPv6":                {from: "vm1", to: "vm2", make: frame.TCP6, lane: "vm2"},
		"access to trunk":     {from: "vm1", to: "trunk", lane: "push_vlan(vid=10,pcp=0),trunk"},
		"access to native":    {from: "vm1", to: "native", make: frame.TCP4, lane: "native"},
		"trunk to access":     {from: "trunk", to: "vm1", opts: tags(frame.Tag{VID: 10}), lane: "pop_vlan,vm1"},
		"trunk with a PCP":    {from: "trunk", to: "vm3", opts: tags(frame.Tag{VID: 20, PCP: 5}), lane: "pop_vlan,vm3"},
		"priority tag":        {from: "vm1", to: "trunk", opts: tags(frame.Tag{PCP: 5}), lane: "pop_vlan,push_vlan(vid=10,pcp=5),trunk"},
		"fragment":            {from: "vm1", to: "vm2", opts: []frame.Option{frame.Fragment(0, true)}, why: refused(Fragments)},
		"later fragment":      {from: "vm1", to: "vm2", make: frame.UDP6, opts: []frame.Option{frame.Fragment(100, true)}, why: refused(Fragments)},
		"ARP":                 {from: "vm1", to: "vm2", make: arp, why: refused(GroupMAC)},
		"broadcast":           {from: "vm1", dst: frame.Broadcast, why: refused(GroupMAC)},
		"unknown destination": {from: "vm1", dst: ovs.MAC{0x52, 0x54, 5: 0xef}, why: refused(SeveralOutputs)},
		"foreign VLAN":        {from: "vm1", to: "vm2", opts: tags(frame.Tag{VID: 30}), why: refused(Drop)},
		"two tags":            {notOn: "system", from: "trunk", to: "vm1", opts: tags(frame.Tag{VID: 10}, frame.Tag{VID: 7}), why: refused(VLANMatch)},
		"service tag":         {from: "trunk", to: "vm1", opts: tags(frame.Tag{TPID: frame.TypeQinQ, VID: 10}), why: refused(VLANMatch)},
		"destination at home": {from: "vm1", to: "vm1", src: ovs.MAC{0x52, 0x54, 5: 0xee}, why: refused(Drop)},
		"neither IPv4 nor IPv6": {from: "vm1", to: "vm2", why: refused(EtherType),
			make: func(dst, src ovs.MAC, _ ...frame.Option) []byte {
				return frame.Frame{Dst: dst, Src: src, EtherType: 0x88b5, Payload: make([]byte, 46)}.Bytes()
			}},
		"802.2": {from: "vm1", to: "vm2", why: refused(EtherType),
			make: func(dst, src ovs.MAC, _ ...frame.Option) []byte {
				return frame.Frame{Dst: dst, Src: src, EtherType: 46, Payload: append([]byte{0x42, 0x42, 3}, make([]byte, 43)...)}.Bytes()
			}},
	})
}

// Two bridges as Neutron makes them: local VLANs on br-int, the provider's on
// br-ex.
func TestOpenVSwitchNeutron(t *testing.T) {
	w := newWorld(t)
	w.bridge("br-int", "fail_mode=secure")
	w.bridge("br-ex", "fail_mode=secure")
	w.taps("br-int", "vm1 tag=1", "vm2 tag=2", "vm3 tag=1")
	w.taps("br-ex", "uplink")
	w.vsctl("add-port", "br-int", "int-br-ex", "--", "set", "interface", "int-br-ex", "type=patch", "options:peer=phy-br-ex", "ofport_request=100",
		"--", "add-port", "br-ex", "phy-br-ex", "--", "set", "interface", "phy-br-ex", "type=patch", "options:peer=int-br-ex", "ofport_request=100")
	w.rules("br-int",
		"priority=65535,dl_vlan=4095,actions=drop",
		"priority=3,in_port=100,dl_vlan=100,actions=mod_vlan_vid:1,resubmit(,58)",
		"priority=3,in_port=100,dl_vlan=200,actions=mod_vlan_vid:2,resubmit(,58)",
		"priority=2,in_port=100,actions=drop",
		"priority=0,actions=resubmit(,58)",
		"table=23,actions=drop", "table=24,actions=drop",
		"table=58,priority=0,actions=resubmit(,60)",
		"table=60,priority=3,actions=NORMAL")
	w.rules("br-ex",
		"priority=4,in_port=100,dl_vlan=1,actions=mod_vlan_vid:100,NORMAL",
		"priority=4,in_port=100,dl_vlan=2,actions=mod_vlan_vid:200,NORMAL",
		"priority=2,in_port=100,actions=drop",
		"priority=0,actions=NORMAL")
	vlan := func(v ovs.VLAN) []frame.Option { return []frame.Option{frame.OnVLAN(v)} }
	for _, name := range []string{"vm1", "vm2", "vm3"} {
		w.must(w.ports[name].Send(frame.UDP4(frame.Broadcast, w.mac(name))))
	}
	outside := w.NewMAC()
	w.must(w.ports["uplink"].Send(frame.UDP4(frame.Broadcast, outside, frame.OnVLAN(100))))
	w.must(w.ports["uplink"].Send(frame.UDP4(frame.Broadcast, outside, frame.OnVLAN(200))))
	time.Sleep(200 * time.Millisecond)
	w.check(t, "br-int", map[string]sent{
		"in the network":     {from: "vm1", to: "vm3", lane: "vm3"},
		"to the provider":    {from: "vm1", dst: outside, lane: "push_vlan(vid=100,pcp=0),uplink"},
		"of another network": {from: "vm2", dst: outside, make: frame.UDP6, lane: "push_vlan(vid=200,pcp=0),uplink"},
		"between networks":   {from: "vm2", to: "vm1", why: refused(SeveralOutputs)},
	})
	t.Run("br-ex", func(t *testing.T) {
		w := w.in(t)
		w.check(t, "br-ex", map[string]sent{
			"from the provider": {from: "uplink", src: outside, to: "vm1", opts: vlan(100), lane: "pop_vlan,vm1"},
			"another network":   {from: "uplink", src: outside, to: "vm2", opts: vlan(200), make: frame.TCP6, lane: "pop_vlan,vm2"},
			"no network":        {from: "uplink", src: outside, to: "vm2", opts: vlan(300), lane: "br-ex"},
			"untagged":          {from: "uplink", src: outside, to: "vm2", lane: "br-ex"},
		})
	})
}

// Pipelines with everything that the lane does not do.
func TestOpenVSwitchPipelines(t *testing.T) {
	w := newWorld(t)
	w.bridge("br0", "fail_mode=secure")
	w.taps("br0", "a", "b", "c", "d")
	w.vsctl("set", "interface", "a", "ofport_request=1", "--", "set", "interface", "b", "ofport_request=2",
		"--", "set", "interface", "c", "ofport_request=3", "--", "set", "interface", "d", "ofport_request=4")
	for _, g := range []string{
		"group_id=1,type=select,selection_method=dp_hash,bucket=output:2,bucket=output:3",
		"group_id=2,type=all,bucket=output:2,bucket=output:3",
		"group_id=3,type=indirect,bucket=output:2",
		"group_id=4,type=select,selection_method=hash,fields(ip_dst),bucket=output:2,bucket=output:3",
	} {
		_, err := w.Ofctl("-O", "OpenFlow15", "add-group", "br0", g)
		w.must(err)
	}
	_, err := w.Ofctl("-O", "OpenFlow15", "add-meter", "br0", "meter=1,kbps,bands=type=drop,rate=100000")
	w.must(err)
	// Each case has a destination of its own, whose rule looks at both addresses.
	exact := func(n byte) ovs.MAC { return ovs.MAC{0x52, 0x54, 0, 0xaa, 0, n} }
	rules := []string{
		"table=1,priority=9,ct_state=+trk+new,ip,actions=ct(commit),output:2",
		"table=1,priority=1,actions=output:2",
		"table=2,priority=9,ct_state=+trk,actions=output:2",
		"table=2,priority=1,actions=output:3",
		"table=3,tcp,tp_dst=80,actions=output:3",
		"table=3,priority=1,actions=output:2",
		"table=4,ip,nw_dst=192.0.2.9,actions=output:3",
		"table=4,priority=1,actions=output:2",
		"table=5,pkt_mark=7,actions=output:3",
		"table=5,priority=1,actions=output:2",
		"table=6,priority=1,reg1=0x1,actions=output:2",
		"priority=1,in_port=4,actions=output:2", // no address counts
	}
	cases := map[string]sent{}
	n := byte(0)
	add := func(name, actions string, s sent) {
		n++
		s.from, s.dst = "a", exact(n)
		if !strings.Contains(actions, "actions=") {
			actions = "actions=" + actions
		}
		rules = append(rules, fmt.Sprintf("priority=100,in_port=1,dl_src=%s,dl_dst=%s,%s", w.mac("a"), s.dst, actions))
		cases[name] = s
	}
	add("output", "output:2", sent{lane: "b"})
	add("resubmit and registers", "set_field:1->reg1,resubmit(,6)", sent{lane: "b"})
	add("push", "push_vlan:0x8100,set_field:4196->vlan_vid,output:2", sent{lane: "push_vlan(vid=100,pcp=0),b"})
	add("push with PCP", "push_vlan:0x8100,set_field:4196->vlan_vid,set_field:3->vlan_pcp,output:2", sent{lane: "push_vlan(vid=100,pcp=3),b"})
	add("indirect group", "group:3", sent{lane: "b"})
	add("learn", "learn(table=9,hard_timeout=300,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:2", sent{lane: "b"})
	add("retag", "dl_vlan=100,actions=set_field:4296->vlan_vid,output:2", sent{opts: []frame.Option{frame.OnVLAN(100)}, lane: "pop_vlan,push_vlan(vid=200,pcp=0),b"})
	add("drop", "drop", sent{why: refused(Drop)})
	add("two outputs", "output:2,output:3", sent{why: refused(SeveralOutputs)})
	add("group of all", "group:2", sent{why: refused(SeveralOutputs, Clone)})
	add("group by dp_hash", "group:1", sent{why: refused(HashAction)})
	add("group by a field", "group:4", sent{why: refused(L3Match)})
	add("ct", "ip,actions=ct(table=1)", sent{why: refused(Conntrack)})
	add("ct_state", "resubmit(,2)", sent{why: refused(Conntrack)})
	add("ct_clear", "ip,actions=ct_clear,output:2", sent{lane: "b"}) // no connection to clear
	add("meter", "meter:1,output:2", sent{why: refused(Meter)})
	add("L4", "resubmit(,3)", sent{make: frame.TCP4, why: refused(L3Match, L4Match)})
	add("L3", "resubmit(,4)", sent{why: refused(L3Match)})
	add("mark", "resubmit(,5)", sent{why: refused(Mark)})
	add("address", "mod_dl_dst:52:54:00:00:00:99,output:2", sent{why: refused(Rewrite)})
	add("TTL", "ip,actions=dec_ttl,output:2", sent{why: refused(L3Match, Rewrite)})
	add("set mark", "set_field:5->pkt_mark,output:2", sent{why: refused(Mark, Rewrite)})
	add("queue", "set_queue:1,output:2", sent{why: refused(Mark, Rewrite)})
	add("controller", "controller,output:2", sent{why: refused(Userspace)})
	add("back", "in_port", sent{why: refused(Hairpin)})
	add("truncate", "output(port=2,max_len=100)", sent{why: refused(Truncate)})
	add("length", "check_pkt_larger(1000)->NXM_NX_REG0[0],output:2", sent{why: refused(PacketLength)})
	add("clone", "clone(mod_dl_dst:52:54:00:00:00:99,output:3),output:2", sent{why: refused(Clone, Rewrite, SeveralOutputs)})
	add("MPLS", "ip,actions=push_mpls:0x8847,output:2", sent{why: refused(Rewrite, L3Match)})
	add("service tag", "push_vlan:0x88a8,set_field:4196->vlan_vid,output:2", sent{why: refused(VLANAction)})
	add("second tag", "push_vlan:0x8100,set_field:4296->vlan_vid,output:2", sent{opts: []frame.Option{frame.OnVLAN(100)}, why: refused(VLANAction, VLANMatch)})
	cases["no address"] = sent{from: "d", to: "b", why: refused(MaskedMAC)}
	w.rules("br0", rules...)
	w.check(t, "br0", cases)
}

// sFlow takes samples of every frame.
func TestOpenVSwitchSampling(t *testing.T) {
	w := newWorld(t)
	w.bridge("br0")
	w.taps("br0", "a", "b")
	w.vsctl("--", "--id=@s", "create", "sFlow", "agent=lo", `targets="127.0.0.1:6343"`, "header=128", "sampling=64", "polling=10",
		"--", "set", "bridge", "br0", "sflow=@s")
	w.must(w.ports["b"].Send(frame.UDP4(frame.Broadcast, w.mac("b"))))
	time.Sleep(200 * time.Millisecond)
	w.check(t, "br0", map[string]sent{"sFlow": {from: "a", to: "b", why: refused(Sampling)}})
}

// Tunnels, out and in. The far end exists only in the tables of neighbours.
func TestOpenVSwitchTunnels(t *testing.T) {
	w := newWorld(t)
	w.bridge("br-u")
	w.bridge("br0", "fail_mode=secure")
	w.taps("br-u", "wire")
	w.taps("br0", "a", "b", "c")
	far := w.NewMAC()
	for _, args := range [][]string{{"addr", "add", "192.0.2.1/24", "dev", "br-u"},
		{"neigh", "add", "192.0.2.2", "lladdr", far.String(), "dev", "br-u"}} {
		_, err := w.Hypervisor.Exec(t.Context(), "ip", args...)
		w.must(err)
	}
	w.vsctl("add-port", "br0", "vx", "--", "set", "interface", "vx", "type=vxlan", "options:remote_ip=192.0.2.2", "options:key=7", "ofport_request=10",
		"--", "add-port", "br0", "gn", "--", "set", "interface", "gn", "type=geneve", "options:remote_ip=192.0.2.2", "options:key=7", "ofport_request=11")
	if w.DatapathType == "netdev" {
		_, err := w.Appctl("tnl/neigh/set", "br-u", "192.0.2.2", far.String())
		w.must(err)
	}
	w.rules("br0", "in_port=a,actions=output:10", "in_port=b,actions=output:11",
		"in_port=10,actions=output:c", "in_port=11,actions=output:c")
	w.must(w.ports["wire"].Send(frame.UDP4(frame.Broadcast, far)))
	time.Sleep(500 * time.Millisecond)
	address := netip.MustParseAddr
	local, err := w.OVS("get", "interface", "br-u", "mac_in_use")
	w.must(err)
	near, err := ovs.ParseMAC(strings.Trim(local, "\"\n"))
	w.must(err)
	// A VXLAN header with VNI 7 and a frame.
	inner := append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, frame.UDP4(w.mac("c"), far)...)
	in := []frame.Option{frame.IPs(address("192.0.2.1"), address("192.0.2.2")), frame.Ports(4789, 40000), frame.Payload(inner), frame.NoChecksum()}
	w.check(t, "br0", map[string]sent{
		"VXLAN":  {from: "a", to: "c", why: refused(MaskedMAC)},
		"Geneve": {from: "b", to: "c", why: refused(MaskedMAC)},
	})
	w.rules("br0", fmt.Sprintf("in_port=a,dl_src=%s,dl_dst=%s,actions=output:10", w.mac("a"), w.mac("c")),
		fmt.Sprintf("in_port=b,dl_src=%s,dl_dst=%s,actions=output:11", w.mac("b"), w.mac("c")),
		"in_port=10,actions=output:c")
	t.Run("exact", func(t *testing.T) {
		w := w.in(t)
		w.check(t, "br0", map[string]sent{
			"VXLAN":  {from: "a", to: "c", why: refused(Tunnel, Clone, L3Match, Rewrite)},
			"Geneve": {from: "b", to: "c", why: refused(Tunnel, Clone, L3Match, Rewrite)},
		})
	})
	if w.DatapathType == "netdev" {
		t.Run("in", func(t *testing.T) {
			w := w.in(t)
			w.check(t, "br-u", map[string]sent{"VXLAN": {from: "wire", src: far, dst: near, opts: in, why: refused(L3Match, L4Match)}})
			// The frame in it is looked at again.
			w.save("dump", "-inner", "dpif/dump-flows", "-m", "--names", "br0")
			text, err := w.Appctl("dpif/dump-flows", "-m", "--names", "br0")
			w.must(err)
			flows, err := Parse(text)
			w.must(err)
			if len(flows) != 1 || flows[0].Refusal != Tunnel && flows[0].Refusal != Recirculated {
				t.Errorf("flows of the frame in the tunnel: %+v\n%s", flows, text)
			}
		})
	}
}
