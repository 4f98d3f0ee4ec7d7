// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// why is what offload/why says of a frame.
type why struct {
	Bridge string `json:"bridge"`
	InPort string `json:"in_port"`
	VLAN   int    `json:"vlan"`
	Src    string `json:"src"`
	Dst    string `json:"dst"`
	Path   string `json:"path"`
	To     string `json:"to"`
	Tag    int    `json:"tag"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Trace  string `json:"trace"`
}

func TestWhy(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	up := w.veth("up")
	h, h2 := tagged(up, w.NewMAC(), 10), tagged(up, w.NewMAC(), 10)
	off := untagged(w.veth("v2", "tag=10", "external_ids:xdp-offload=off"), 10)
	w.must(w.AddBridge("br9"))
	nine := untagged(w.portOn("br9", (*lab.Lab).AddTap, "t9", lab.PortOptions{}), 0)
	w.announce(h, "lane")
	w.announce(h2, "lane")
	w.hello(off)
	w.hello(nine)
	explain := func(w *world, args ...string) (string, why) {
		w.t.Helper()
		text, err := w.Ctl(append([]string{"why"}, args...)...)
		w.must(err)
		other, err := w.Appctl(append([]string{"-t", "ovs-xdpd", "offload/why"}, args...)...)
		w.must(err)
		if other != text {
			w.t.Errorf("ovs-appctl says %q, ovs-xdpctl %q", other, text)
		}
		out, err := w.Ctl(append([]string{"why", "-o", "json"}, args...)...)
		w.must(err)
		var v why
		w.must(json.Unmarshal([]byte(out), &v))
		if v.Trace == "" || !strings.Contains(text, v.Trace) {
			w.t.Errorf("the trace is %q in JSON; text %q", v.Trace, text)
		}
		w.t.Logf("%s: %s", strings.Join(args, " "), text)
		return text, v
	}
	type want struct {
		args  []string
		path  string
		to    string
		tag   int
		text  []string
		trace []string
	}
	check := func(w *world, c want) {
		w.t.Helper()
		text, v := explain(w, c.args...)
		if v.Path != c.path || v.To != c.to || v.Tag != c.tag {
			w.t.Errorf("%s: %+v", strings.Join(c.args, " "), v)
		}
		for _, s := range append(c.text, c.args[3]) {
			if !strings.Contains(text, s) {
				w.t.Errorf("%s: %q is not in %q", strings.Join(c.args, " "), s, text)
			}
		}
		for _, s := range c.trace {
			if !strings.Contains(v.Trace, s) {
				w.t.Errorf("%s: %q is not in the trace %q", strings.Join(c.args, " "), s, v.Trace)
			}
		}
	}
	unknown := w.NewMAC().String()
	for name, c := range map[string]want{
		"lane":                {[]string{"br0", "v1", "10", b.mac.String()}, "lane", "t1", 0, []string{"express lane, to t1 untagged"}, []string{"Datapath actions: t1"}},
		"VLAN 0 on access":    {[]string{"br0", "v1", "0", b.mac.String()}, "lane", "t1", 0, []string{"VLAN 10"}, []string{"Datapath actions: t1"}},
		"port by number":      {[]string{"br0", "1", "10", b.mac.String()}, "lane", "t1", 0, []string{"v1"}, []string{"Datapath actions: t1"}},
		"tag pushed":          {[]string{"br0", "v1", "10", h.mac.String()}, "lane", "up", 10, []string{"express lane, to up with tag 10"}, []string{"push_vlan(vid=10,pcp=0),up"}},
		"tag popped":          {[]string{"br0", "up", "10", a.mac.String()}, "lane", "v1", 0, []string{"to v1 untagged"}, []string{"pop_vlan,v1"}},
		"unknown":             {[]string{"br0", "v1", "10", unknown}, "ovs", "", 0, []string{"by OVS", "unknown"}, []string{"flooding", "t1"}},
		"VLAN of no station":  {[]string{"br0", "up", "20", a.mac.String()}, "ovs", "", 0, []string{"by OVS", "VLAN 20"}, nil},
		"VLAN not carried":    {[]string{"br0", "v1", "20", b.mac.String()}, "ovs", "", 0, []string{"by OVS", "vlan"}, []string{"drop"}},
		"hairpin":             {[]string{"br0", "up", "10", h.mac.String()}, "ovs", "", 0, []string{"by OVS", "hairpin"}, []string{"drop"}},
		"broadcast":           {[]string{"br0", "v1", "10", "ff:ff:ff:ff:ff:ff"}, "ovs", "", 0, []string{"by OVS", "broadcast"}, []string{"flooding"}},
		"port that is off":    {[]string{"br0", "v2", "10", a.mac.String()}, "ovs", "", 0, []string{"port-off"}, []string{"v1"}},
		"to a port off":       {[]string{"br0", "v1", "10", off.mac.String()}, "ovs", "", 0, []string{"by OVS"}, []string{"Datapath actions: v2"}},
		"bridge that is off":  {[]string{"br9", "t9", "0", a.mac.String()}, "ovs", "", 0, []string{"xdp-offload of the bridge is off"}, nil},
		"the bridge's device": {[]string{"br0", "br0", "10", a.mac.String()}, "ovs", "", 0, []string{"by OVS"}, []string{"v1"}},
	} {
		w.run(name, func(w *world) { check(w, c) })
	}
	w.run("wrong arguments", func(w *world) {
		for _, c := range []struct{ args, want string }{
			{"br7 v1 10 " + unknown, "no such bridge: br7"},
			{"br0 v7 10 " + unknown, "no port v7 on bridge br0"},
			{"br0 t9 10 " + unknown, "no port t9 on bridge br0"},
			{"br0 v1 4096 " + unknown, "4096"},
			{"br0 v1 ten " + unknown, "ten"},
			{"br0 v1 10 52:54:00", "52:54:00"},
			{"br0 v1 10", "dst-mac"},
		} {
			out, err := w.Ctl(append([]string{"why"}, strings.Fields(c.args)...)...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				w.t.Errorf("why %s: %q, error %v; want %q in it", c.args, out, err, c.want)
			}
		}
	})
	w.run("observe", func(w *world) {
		w.mode("observe")
		w.announce(a, "lane")
		w.announce(b, "lane")
		check(w, want{args: []string{"br0", "v1", "10", b.mac.String()}, path: "observe", text: []string{"observe mode"}, trace: []string{"Datapath actions: t1"}})
		w.mode("on")
		w.announce(b, "lane")
	})
	w.run("rules", func(w *world) {
		verdict := func(match string) {
			w.t.Helper()
			_, err := w.Ofctl("add-flow", "br0", "priority=9,"+match+",actions=drop")
			w.must(err)
			w.eventually(func() error {
				if r := w.rules()["0 9 "+match]; r.Verdict != "drop" {
					return fmt.Errorf("the rule is %+v", r)
				}
				return nil
			})
			w.announce(a, "lane")
			w.announce(b, "lane")
		}
		verdict("tcp")
		check(w, want{args: []string{"br0", "v1", "10", b.mac.String()}, path: "lane", to: "t1", text: []string{"express lane", "OpenFlow rules treat frames between them differently"}, trace: []string{"t1"}})
		verdict("dl_dst=" + b.mac.String())
		check(w, want{args: []string{"br0", "v1", "10", b.mac.String()}, path: "drop", text: []string{"dropped on the lane (dropped: "}, trace: []string{"drop"}})
		_, err := w.Ofctl("--strict", "del-flows", "br0", "priority=9,dl_dst="+b.mac.String())
		w.must(err)
	})
	w.run("refused bridge", func(w *world) {
		w.set("external_ids:xdp-lane=fdb")
		_, err := w.Ofctl("add-flow", "br0", "priority=0,actions=load:1->NXM_NX_REG0[],NORMAL")
		w.must(err)
		w.beyondNormal()
		check(w, want{args: []string{"br0", "v1", "10", b.mac.String()}, path: "ovs", text: []string{"flow-table"}, trace: []string{"t1"}})
	})
}
