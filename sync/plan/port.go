// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/ovs-xdp/ovs-xdp/ovs"

const etherHeader = 14 // bytes

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
	if len(p.Interfaces) != 1 {
		return refuse(Bond, "a bond of %d interfaces", len(p.Interfaces))
	}
	iface := &p.Interfaces[0]
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
	link, ok := b.judgeInterface(subject, iface)
	if !ok {
		return nil
	}
	if holder, taken := b.devices[link.IfIndex]; taken {
		return refuse(SharedDevice, "device %s is on the lane already as %s", link.Name, holder)
	}
	if pt := p.OtherConfig["priority-tags"]; pt != "" && pt != "never" && pt != "false" {
		return refuse(PriorityTags, "other_config:priority-tags=%s", pt)
	}

	rule := Rule{
		Bridge: br.Name, Watch: role == On, Ingress: role == On, Egress: true,
		Protected: p.Protected, Checksum: !link.Physical, MaxFrame: link.MTU + etherHeader,
	}
	if !vlanRule(p, &rule) {
		return refuse(VLANModeReason, "vlan_mode=%s", p.VLANMode)
	}
	flood := ovs.VLANs(br.FloodVLANs...)
	rule.VLANs = rule.VLANs.And(keys.vlans).Minus(flood).Minus(m.outputVLANs)
	if rule.VLANs.IsEmpty() {
		return refuse(VLANKeptOut, "xdp-vlans, flood_vlans or a mirror's output_vlan keep out every VLAN of the port")
	}
	_, rule.Declared = attachedMAC(p)

	mode := Target
	if role == On {
		mode, ok = b.attachMode(subject, link)
		if !ok {
			return nil
		}
	}
	lp := &lanePort{subject: subject}
	lp.fromMirrored, lp.toMirrored = m.selects(p.Name)
	if !rule.VLANs.And(lp.fromMirrored.Or(lp.toMirrored)).IsEmpty() {
		b.refuse(subject, Mirrored, "mirrors select frames from VLANs %q and to VLANs %q of the port: these stay with OVS",
			rule.VLANs.And(lp.fromMirrored), rule.VLANs.And(lp.toMirrored))
	}
	b.judgeDirections(br, subject, p, link, &rule)
	if mode == Target && !rule.Egress {
		return nil
	}
	b.devices[link.IfIndex] = subject
	lp.Port = Port{IfIndex: link.IfIndex, Name: link.Name, Mode: mode, Rule: rule}
	return lp
}

// judgeDirections closes the directions of a port that OVS treats in a way
// that the lane does not.
func (b *builder) judgeDirections(br *ovs.Bridge, subject string, p *ovs.Port, link Link, rule *Rule) {
	iface := &p.Interfaces[0]
	if iface.IngressPolicing && rule.Ingress {
		b.refuse(subject, Policing, "ingress_policing_rate is set: frames from the port stay with OVS")
		rule.Ingress = false
	}
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
