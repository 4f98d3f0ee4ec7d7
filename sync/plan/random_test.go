// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
)

// random makes inputs of all sorts, most of them not from any OVS.
type random struct {
	*rand.Rand
	// calm inputs have nothing rare about them, and so many lanes.
	calm bool
}

// odds is true once in n times.
func (r random) odds(n int) bool { return !(r.calm && n >= 8) && r.IntN(n) == 0 }

func pick[T any](r random, list ...T) T { return list[r.IntN(len(list))] }

func (r random) vlan() ovs.VLAN {
	if r.calm {
		return pick[ovs.VLAN](r, 0, 10, 10, 20)
	}
	return pick[ovs.VLAN](r, 0, 0, 1, 10, 10, 10, 20, 20, 4094, 4095, 4096, 65535)
}

func (r random) vlans() []ovs.VLAN {
	var list []ovs.VLAN
	for r.odds(2) {
		list = append(list, r.vlan())
	}
	return list
}

func (r random) mac() ovs.MAC {
	m := ovs.MAC{0x52, 0x54, 0, 0, 0, byte(r.IntN(5))}
	return pick(r, m, m, m, m, m, m, ovs.MAC{}, ovs.MAC{1, 0, 0x5e}, ovs.MAC{0, 0xe0, 0x2b}, ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
}

// keys returns nil, or external_ids with any of our keys.
func (r random) keys(offload ...string) map[string]string {
	if r.odds(4) {
		return nil
	}
	if r.calm {
		return map[string]string{KeyOffload: offload[0]}
	}
	m := map[string]string{KeyOffload: pick(r, offload...)}
	if r.odds(4) {
		m[KeyCanary] = pick(r, "0", "30", "100", "", "x", "1000")
	}
	if r.odds(4) {
		m[KeyVLANs] = pick(r, "10", "0,10-20", "", "20-10", "4095")
	}
	return m
}

func (r random) number() int {
	return pick(r, 0, -1, 1, math.MaxInt, math.MinInt, math.MaxUint32, math.MaxUint32-1, math.MaxInt32, 65534)
}

func (r random) input() *input {
	in := &input{Links: make(map[string]Link)}
	names := []string{"eth0", "tap1", "tap2", "tap3", "veth1", ""}
	if r.odds(20) {
		in.Links = nil
	}
	for i, n := range names {
		if in.Links == nil || r.odds(8) {
			continue
		}
		l := Link{
			Name: n, IfIndex: i + 1, Driver: pick(r, "tun", "veth", "ixgbe", ""), MTU: pick(r, 1500, 1500, 9000, 0, r.number()),
			Up: !r.odds(8), Physical: r.odds(3), StripsVLAN: r.odds(8), LRO: r.odds(16), KeptOff: r.odds(8),
			NativeXDP: pick(r, Yes, Unknown), Transmits: pick(r, Yes, Unknown), HidesTags: pick(r, Unknown, Unknown, No),
		}
		if r.odds(8) {
			l.NativeXDP, l.Transmits = pick(r, Yes, No, Answer(7)), pick(r, Yes, No)
		}
		if r.odds(10) {
			l.HidesTags = Yes
		}
		if r.odds(10) {
			l.LosesFrames = "1 lost"
		}
		if r.odds(10) {
			l.OtherXDP = "other"
		}
		if r.odds(10) {
			l.AttachError = "refused"
		}
		if r.odds(10) {
			l.IfIndex = pick(r, 1, 2, r.number())
		}
		in.Links[n] = l
	}
	in.Policy = Policy{AllowGeneric: r.odds(2), SetNICOffloads: r.odds(2), KeepAlive: time.Duration(r.IntN(3)) * time.Duration(r.IntN(100)) * time.Second, FinishChecksums: r.odds(2),
		RulesPerList: pick(r, 0, 0, 0, 0, 2, 5), Rules: pick(r, 0, 0, 0, 0, 10, 100)}
	in.Snapshot = ovs.Snapshot{HWOffload: r.odds(30), FlowRestoreWait: r.odds(20)}
	many := 1 + r.IntN(3)
	if r.odds(50) {
		many = 17
	}
	for b := range many {
		in.Snapshot.Bridges = append(in.Snapshot.Bridges, r.bridge(pick(r, fmt.Sprintf("br%d", b), fmt.Sprintf("br%d", b), "br0"), names, in.Links))
	}
	in.Policy.Flows, in.Policy.FlowRows = r.megaflows(&in.Snapshot, names), pick(r, 0, 0, 0, 3)
	return in
}

// megaflows makes up megaflows between ports of any bridges.
func (r random) megaflows(s *ovs.Snapshot, names []string) map[string][]dpflow.Flow {
	all := make(map[string][]dpflow.Flow)
	for i := range s.Bridges {
		for range r.IntN(12) {
			f := dpflow.Flow{Match: dpflow.Key{InPort: pick(r, names...), EtherType: pick(r, dpflow.IPv4, dpflow.IPv6), Src: r.mac(), Dst: r.mac()}}
			if ports := s.Bridges[i].Ports; r.calm && len(ports) > 0 {
				f.Match.InPort, f.Match.Src, f.Match.Dst = pick(r, ports...).Name, ovs.MAC{0x52, 5: byte(r.IntN(3))}, ovs.MAC{0x52, 5: byte(3 + r.IntN(3))}
			}
			if r.odds(2) {
				f.Match.Tag = dpflow.TagMatch{Tag: dpflow.Tag{Present: true, VID: r.vlan(), PCP: byte(r.IntN(8))}, VIDMask: dpflow.ExactVID, PCPMask: dpflow.ExactPCP}
				if r.odds(8) {
					f.Match.Tag.VIDMask, f.Match.Tag.PCPMask = 0xff0, 0
				}
			}
			if r.odds(8) {
				f.Refusal, f.Again = pick(r, dpflow.Conntrack, dpflow.Fragments), r.odds(3)
				all[s.Bridges[i].Name] = append(all[s.Bridges[i].Name], f)
				continue
			}
			f.Lane = &dpflow.LaneFlow{Key: f.Match, FragNo: r.odds(2), Output: pick(r, names...)}
			f.Lane.Pop = f.Match.Tag.Present && r.odds(2)
			if f.Lane.Pop == f.Match.Tag.Present && r.odds(2) {
				f.Lane.Push = dpflow.Tag{Present: true, VID: r.vlan(), PCP: byte(r.IntN(8))}
			}
			all[s.Bridges[i].Name] = append(all[s.Bridges[i].Name], f)
		}
	}
	return all
}

func (r random) bridge(name string, names []string, links map[string]Link) ovs.Bridge {
	br := ovs.Bridge{
		Name: name, DatapathType: pick(r, "", "system", "netdev"),
		STP: r.odds(30), RSTP: r.odds(30), SFlow: r.odds(30), NetFlow: r.odds(30), IPFIX: r.odds(30), FlowSampling: r.odds(30),
		ExternalIDs: r.keys("on", "on", "on", "on", "observe", "off", "junk"),
	}
	if br.ExternalIDs != nil && r.odds(3) {
		br.ExternalIDs[KeyLane] = pick(r, "auto", "fdb", "flows", "flows")
	}
	if r.odds(5) {
		br.FloodVLANs = r.vlans()
	}
	if r.odds(30) {
		br.DatapathType = "dummy"
	}
	if r.odds(7) {
		br.Mirrors = []ovs.Mirror{{}}
	}
	if r.odds(10) {
		br.Controllers = []ovs.Controller{{Target: pick(r, "tcp:1", "ssl:1", "ptcp:", "unix:x", ""), ConnectionMode: pick(r, "", "in-band", "out-of-band")}}
	}
	if r.odds(8) {
		br.OtherConfig = map[string]string{"mac-aging-time": pick(r, "", "0", "1", "60", "99999999999999999999", "x", "-1"), "disable-in-band": pick(r, "true", "x")}
	}
	for range r.IntN(5) {
		br.Ports = append(br.Ports, r.port(pick(r, append(names, name)...), names, links))
	}
	if r.odds(3) { // joins it to one of the others
		peer := pick(r, "0", "1", "2")
		br.Ports = append(br.Ports, ovs.Port{Name: "patch" + name[2:], Interfaces: []ovs.Interface{{
			Name: "patch" + name[2:], Type: "patch", OFPort: 90, Options: map[string]string{"peer": "patch" + peer},
		}}})
	}
	if r.odds(12) {
		return br
	}
	br.Detail = &ovs.Detail{FragMode: "normal", Rules: []ovs.Rule{{Actions: []string{"NORMAL"}}}, PortConfig: make(map[uint32]ovs.PortConfig)}
	if r.odds(3) {
		br.Detail.Rules = append(br.Detail.Rules, r.rules()...)
	}
	if r.odds(20) {
		br.Detail.Rules = append(br.Detail.Rules, pick(r, ovs.Rule{}, ovs.Rule{Table: 3}, ovs.Rule{Match: []ovs.Match{{}}}))
	}
	if r.odds(20) {
		*br.Detail = ovs.Detail{HiddenRules: r.number(), FragMode: pick(r, "", "drop")}
	}
	br.Detail.Bonds = make(map[string]ovs.Bond)
	for i := range br.Ports {
		if p := &br.Ports[i]; len(p.Interfaces) > 1 && !r.odds(10) {
			br.Detail.Bonds[p.Name] = r.bond(p)
		}
	}
	for n := range uint32(7) {
		if br.Detail.PortConfig != nil && !r.odds(10) {
			br.Detail.PortConfig[n] = ovs.PortConfig{Down: r.odds(20), NoRecv: r.odds(10), NoFwd: r.odds(10)}
		}
	}
	for range r.IntN(12) {
		if r.calm && len(br.Ports) > 0 { // a station of its own, on a port of the bridge
			p := pick(r, br.Ports...)
			br.Detail.FDB = append(br.Detail.FDB, ovs.FDBEntry{
				OFPort: uint32(p.Interfaces[0].OFPort), VLAN: r.vlan(), MAC: ovs.MAC{0x52, 5: byte(len(br.Detail.FDB))},
			})
			continue
		}
		br.Detail.FDB = append(br.Detail.FDB, ovs.FDBEntry{
			OFPort: pick(r, uint32(r.IntN(7)), uint32(r.IntN(7)), uint32(r.IntN(7)), ovs.LocalPort, math.MaxUint32),
			VLAN:   r.vlan(), MAC: r.mac(), Age: r.number(), Static: r.odds(5),
		})
	}
	return br
}

func (r random) port(name string, names []string, links map[string]Link) ovs.Port {
	p := ovs.Port{
		Name: name, VLANMode: pick(r, "", "", "", "access", "trunk", "native-tagged", "native-untagged"),
		Protected: r.odds(3), QoS: r.odds(10), ExternalIDs: r.keys("on", "on", "on", "target", "off", "junk"),
	}
	if r.odds(2) {
		v := r.vlan()
		p.Tag = &v
	}
	if r.odds(3) {
		p.Trunks = r.vlans()
	}
	if r.odds(10) {
		p.VLANMode = pick(r, "dot1q-tunnel", "x")
	}
	if r.odds(10) {
		p.OtherConfig = map[string]string{"priority-tags": pick(r, "always", "never", "")}
	}
	many := 1
	if r.odds(6) {
		many = pick(r, 2, 3)
		if !r.calm && r.odds(4) {
			many = 0
		}
	}
	for n := range many {
		name := name
		if n > 0 {
			name = pick(r, names...)
		}
		i := ovs.Interface{
			Name: name, Type: pick(r, "", "system"),
			Policing: r.policing(), BFD: r.odds(30), CFM: r.odds(30),
			AdminState: pick(r, "up", ""), LinkState: pick(r, "up", ""),
		}
		if r.odds(8) {
			i.Name, i.Type = pick(r, names...), pick(r, "", "internal")
		}
		if r.odds(8) {
			i.AdminState, i.LinkState = pick(r, "up", "down"), "down"
		}
		i.ExternalIDs = r.addresses()
		i.OFPort, i.IfIndex = links[i.Name].IfIndex, links[i.Name].IfIndex
		if r.odds(10) {
			i.OFPort = r.number()
		}
		if r.odds(10) {
			i.IfIndex = r.number()
		}
		if r.odds(30) {
			i.Error = "could not open"
		}
		if r.odds(10) {
			maps.Copy(i.ExternalIDs, r.keys("on", "target", "off", "junk"))
		}
		p.Interfaces = append(p.Interfaces, i)
	}
	return p
}

func (r random) bond(p *ovs.Port) ovs.Bond {
	b := ovs.Bond{
		Mode: pick(r, "active-backup", "balance-tcp", "balance-slb"), LACP: pick(r, ovs.LACPOff, ovs.LACPNegotiated),
		Enabled: make(map[string]bool), Active: pick(r, p.Interfaces...).Name, Fallback: r.odds(4),
	}
	if r.odds(8) {
		b.Mode, b.LACP, b.Active = pick(r, "", "x", b.Mode), pick(r, "", ovs.LACPConfigured, "x"), pick(r, "", "x", b.Active)
	}
	for i := range p.Interfaces {
		if !r.odds(8) {
			b.Enabled[p.Interfaces[i].Name] = !r.odds(3)
		}
	}
	return b
}
