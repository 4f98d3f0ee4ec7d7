// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

const etherHeader = 14 // bytes

// lanePort is a Port on the lane: its devices, and what its rows need to know.
type lanePort struct {
	subject string // "br0/tap1"
	// devices holds what goes into the tables. Rows of the port's stations name
	// the first.
	devices []Port
	// vid is Rule.VID and vlans Rule.VLANs of all devices.
	vid   ovs.VLAN
	vlans ovs.VLANSet
	// fromMirrored and toMirrored hold the VLANs whose frames from and to the
	// port a mirror copies.
	fromMirrored, toMirrored ovs.VLANSet
}

// row makes a row of a station on the port, or tells that there is none.
func (p *lanePort) row(br *ovs.Bridge, keys bridgeKeys, vlan ovs.VLAN, mac ovs.MAC) (Row, bool) {
	if p == nil || mac.IsGroup() || mac.IsZero() || !p.vlans.Has(vlan) {
		return Row{}, false
	}
	return Row{
		Key:      Key{Bridge: br.Name, VLAN: vlan, MAC: mac},
		IfIndex:  p.devices[0].IfIndex,
		Target:   inCanary(mac, keys.canary) && !isReserved(mac) && !p.toMirrored.Has(vlan),
		Mirrored: p.fromMirrored.Has(vlan),
	}, true
}

// port makes the lane's port of a Port, or nil when it stays with OVS.
func (b *builder) port(br *ovs.Bridge, p *ovs.Port, keys bridgeKeys, m *mirrors) *lanePort {
	subject := br.Name + "/" + p.Name
	refuse := func(reason Reason, format string, args ...any) *lanePort {
		b.refuse(subject, reason, format, args...)
		return nil
	}
	if p.Name == br.Name {
		return nil // the bridge's own port: frames to it are for the host
	}
	role, bad := readPortKey(p)
	if bad != "" {
		return refuse(BadKey, "%s", bad)
	}
	if role == Off {
		return refuse(PortOff, "external_ids:%s=off", KeyOffload)
	}
	if name, ok := m.output[p.Name]; ok {
		return refuse(Mirrored, "the port is the output of mirror %q, and OVS drops what it sends", name)
	}
	if pt := p.OtherConfig["priority-tags"]; pt != "" && pt != "never" && pt != "false" {
		return refuse(PriorityTags, "other_config:priority-tags=%s", pt)
	}
	rule := Rule{
		Bridge: br.Name, Watch: role == On, Ingress: role == On, Egress: true, Protected: p.Protected,
	}
	if !vlanRule(p, &rule) {
		return refuse(VLANModeReason, "vlan_mode=%s", p.VLANMode)
	}
	if b.lane.Lane == FlowLane {
		if len(p.Interfaces) > 1 {
			return refuse(Bond, "a bond of OVS in a bridge that uses flows")
		}
		rule = b.flowRule(rule)
	} else {
		flood := ovs.VLANs(br.FloodVLANs...)
		rule.VLANs = rule.VLANs.And(keys.vlans).Minus(flood).Minus(m.outputVLANs)
		if rule.VLANs.IsEmpty() {
			return refuse(VLANKeptOut, "xdp-vlans, flood_vlans or a mirror's output_vlan keep out every VLAN of the port")
		}
		_, rule.Declared = attachedMAC(p)
	}

	lp := &lanePort{subject: subject, vid: rule.VID, vlans: rule.VLANs}
	switch len(p.Interfaces) {
	case 0:
		return refuse(InterfaceError, "the port has no interface")
	case 1:
		d, _, ok := b.device(br, subject, p, &p.Interfaces[0], role, rule)
		if !ok || d.Mode == Target && !d.Rule.Egress && b.links[d.Name].LosesFrames == "" {
			return nil // what it has lost stays counted
		}
		if lp.devices, ok = b.withSlaves(subject, d); !ok {
			return nil
		}
		b.devices[d.IfIndex] = subject
	default:
		if lp.devices = b.bond(br, p, subject, role, rule); len(lp.devices) == 0 {
			return nil
		}
	}
	if rule.Flows { // what a mirror selects has two outputs
		return lp
	}
	lp.fromMirrored, lp.toMirrored = m.selects(p.Name)
	if !rule.VLANs.And(lp.fromMirrored.Or(lp.toMirrored)).IsEmpty() {
		b.refuse(subject, Mirrored, "mirrors select frames from VLANs %q and to VLANs %q of the port: these stay with OVS",
			rule.VLANs.And(lp.fromMirrored), rule.VLANs.And(lp.toMirrored))
	}
	return lp
}

// device makes the table's port of one interface of a Port, of which rule says
// what all its interfaces share; up tells whether it is up. It refuses an
// interface that stays with OVS. One that is down keeps its program and is
// closed: attaching resets many NICs, which takes them down for a moment.
func (b *builder) device(br *ovs.Bridge, subject string, p *ovs.Port, iface *ovs.Interface, role Offload, rule Rule) (d Port, up, ok bool) {
	link, ok := b.judgeInterface(subject, iface)
	if !ok {
		return Port{}, false, false
	}
	if holder, taken := b.devices[link.IfIndex]; taken {
		b.refuse(subject, SharedDevice, "device %s is on the lane already as %s", link.Name, holder)
		return Port{}, false, false
	}
	if link.Bond != 0 {
		b.refuse(subject, SharedDevice, "device %s is a slave of a Linux bond", link.Name)
		return Port{}, false, false
	}
	if other, taken := b.ofports[iface.OFPort]; taken { // rules could not tell them apart
		b.refuse(subject, NotReady, "OpenFlow port %d is that of %s, too", iface.OFPort, other)
		return Port{}, false, false
	}
	v, bad := readValidation(p)
	if bad != "" {
		b.refuse(subject, BadKey, "%s", bad)
		return Port{}, false, false
	}
	d = Port{IfIndex: link.IfIndex, Name: link.Name, Mode: Target, Rule: rule}
	if up = !isDown(iface, link); !up {
		b.refuse(subject, LinkDown, "device %s is down or has no carrier", link.Name)
		d.Rule.Watch, d.Rule.Ingress, d.Rule.Egress = false, false, false
	}
	if role == On {
		if d.Mode, ok = b.attachMode(subject, link); !ok {
			return Port{}, false, false
		}
		d.SetOffloads = link.setsOffloads()
	}
	d.Rule.Checksum, d.Rule.MaxFrame, d.Rule.Scattered = !link.Physical, link.MTU+etherHeader, link.Scattered
	// A veth copies each frame out of the socket buffer; a tap does not always.
	d.Rule.Finish = b.policy.FinishChecksums && link.Driver == "veth" && (d.Mode == Native || d.Mode == Veth)
	b.judgeDirections(br, subject, p, iface, link, &d.Rule)
	b.ofports[iface.OFPort] = iface.Name
	b.portRules(subject, iface, &d.Rule)
	b.validate(br.Name, v, iface, &d.Rule)
	return d, up, true
}

// judgeDirections closes the directions of a port that OVS treats in a way
// that the lane does not.
func (b *builder) judgeDirections(br *ovs.Bridge, subject string, p *ovs.Port, iface *ovs.Interface, link Link, rule *Rule) {
	rule.PoliceBytes, rule.PoliceFrames = policing(iface.Policing)
	if p.QoS {
		b.refuse(subject, QoS, "qos is set: frames to the port stay with OVS")
		rule.Egress = false
	}
	if link.Transmits == No {
		hint := ""
		if link.Driver == "veth" {
			hint = " (its peer has neither an XDP program nor GRO: ethtool -K PEER gro on)"
		}
		b.refuse(subject, NoXmit, "device %s does not take redirected frames%s: frames to it stay with OVS", link.Name, hint)
		rule.Egress = false
	}
	if link.LosesFrames != "" {
		b.refuse(subject, LosesFrames, "device %s does not take all redirected frames (%s): frames to it stay with OVS until then", link.Name, link.LosesFrames)
		rule.Egress = false
	}
	if br.Detail == nil {
		return // refused as a whole
	}
	if state := br.Detail.SpanningTree[iface.Name]; !ovs.SpanningTreeForwards(state) {
		b.refuse(subject, SpanningTree, "the spanning tree has the port in state %s", state)
		rule.Watch, rule.Ingress, rule.Egress = false, false, false
	}
	cfg, known := br.Detail.PortConfig[uint32(iface.OFPort)]
	switch {
	case !known:
		b.refuse(subject, NotReady, "OpenFlow does not list port %d yet", iface.OFPort)
		rule.Watch, rule.Ingress, rule.Egress = false, false, false
	case cfg.Name != "" && cfg.Name != iface.Name:
		b.refuse(subject, NotReady, "port %d is %s in OpenFlow: OVS is changing", iface.OFPort, cfg.Name)
		rule.Watch, rule.Ingress, rule.Egress = false, false, false
	case cfg.Down:
		b.refuse(subject, PortConfigBits, "OpenFlow port config PORT_DOWN: OVS drops frames from the port and to it")
		rule.Watch, rule.Ingress, rule.Egress = false, false, false
	}
	if cfg.NoRecv {
		b.refuse(subject, PortConfigBits, "OpenFlow port config NO_RECV: OVS drops frames from the port")
		rule.Watch, rule.Ingress = false, false
	}
	if cfg.NoFwd {
		b.refuse(subject, PortConfigBits, "OpenFlow port config NO_FWD: OVS sends no frame to the port")
		rule.Egress = false
	}
}

// policing gives the limits of rate that ovs-vswitchd gives the kernel's policer
// (netdev_linux_set_policing in lib/netdev-linux.c), with its bursts where none
// is set. But a burst is a quarter of a second at least: TCP that has run into the
// limit waits for that long (RTO, RFC 6298; 200 ms in Linux), and would get half
// the rate or less where the bucket is full before.
func policing(p ovs.Policing) (bytes, frames Rate) {
	const burst, packetBurst = 8000, 16 // kbit, kpkts
	if p.Rate > 0 {
		bytes = rateOf(p.Rate, p.Burst, burst, 1000.0/8)
	}
	if p.PacketRate > 0 {
		frames = rateOf(p.PacketRate, p.PacketBurst, packetBurst, 1000)
	}
	return bytes, frames
}

// rateOf gives a limit of rate that is set in units of so many bytes or frames.
func rateOf(rate, burst, usual int, unit float64) Rate {
	burst = max(cmp.Or(max(burst, 0), usual), (rate+3)/4)
	return Rate{PerSecond: uint64(float64(rate) * unit), Burst: uint64(float64(burst) * unit)}
}

// vlanRule fills in how the port carries VLANs; false for a mode that is not
// reproduced.
func vlanRule(p *ovs.Port, rule *Rule) bool {
	mode := p.VLANMode
	if mode == "" {
		mode = "trunk"
		if p.Tag != nil {
			mode = "access"
		}
	}
	if p.Tag != nil {
		rule.VID = *p.Tag
	}
	rule.VLANs = ovs.AllVLANs()
	if len(p.Trunks) > 0 {
		rule.VLANs = ovs.VLANs(p.Trunks...)
	}
	switch mode {
	case "access":
		rule.VLANMode = Access
		rule.VLANs = ovs.VLANs(rule.VID)
	case "trunk":
		rule.VLANMode = Trunk
		rule.VID = 0
	case "native-tagged", "native-untagged":
		rule.VLANMode = NativeTagged
		if mode == "native-untagged" {
			rule.VLANMode = NativeUntagged
		}
		// The native VLAN is always carried, and takes the place of VLAN 0.
		rule.VLANs.Remove(0)
		rule.VLANs.Add(rule.VID)
	default:
		return false
	}
	return true
}
