// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// side is one of the two that are compared.
type side struct {
	lab *lab.Lab
	// letter is in the names of its bridges and devices.
	letter string
	// lane tells that its bridges ask for the lane.
	lane  bool
	ports []*lab.Port // the pool; a case uses the first ones
	// generation is in the names of bridges, so that each case has new ones.
	generation int
	now        Config
}

func (s *side) bridge(i int) string {
	return fmt.Sprintf("o%s%d%s", s.letter, i, []string{"x", "y"}[s.generation%2])
}

// patch names an end of a patch.
func (s *side) patch(i, end int) string {
	return fmt.Sprintf("p%s%d%s%d", s.letter, i, []string{"x", "y"}[s.generation%2], end)
}

// index finds a device; -1 when it is not of this side.
func (s *side) index(device string) int {
	return slices.IndexFunc(s.ports, func(p *lab.Port) bool { return p.Name == device })
}

// command is a command of an ovs-vsctl transaction.
func command(args []string, more ...string) []string {
	return append(append(args, "--"), more...)
}

// remove returns the commands that remove all bridges.
func (s *side) remove() []string {
	var args []string
	for i := range s.now.Bridges {
		args = command(args, "del-br", s.bridge(i))
	}
	return args
}

// database returns the commands that change the database from s.now to next.
func (s *side) database(next Config) []string {
	var args []string
	for i := range next.Bridges {
		if i >= len(s.now.Bridges) {
			args = command(args, "add-br", s.bridge(i))
		}
	}
	for i, p := range next.Ports {
		was := Port{Bridge: -1}
		if i < len(s.now.Ports) {
			was = s.now.Ports[i]
		}
		name := s.ports[i].Name
		if was.Bridge != p.Bridge && was.Bridge >= 0 {
			args = command(args, "del-port", s.bridge(was.Bridge), name)
		}
		if p.Bridge < 0 || cmp.Equal(was, p) {
			continue
		}
		if was.Bridge != p.Bridge {
			args = command(args, "add-port", s.bridge(p.Bridge), name)
			args = command(args, "set", "interface", name, fmt.Sprintf("ofport_request=%d", i+1))
		}
		args = append(args, portRow(name, p)...)
	}
	for i := len(s.now.Patches); i < len(next.Patches); i++ {
		for end, bridge := range next.Patches[i].Bridges {
			name, peer := s.patch(i, end), s.patch(i, 1-end)
			args = command(args, "add-port", s.bridge(bridge), name)
			args = command(args, "set", "interface", name, "type=patch", "options:peer="+peer, fmt.Sprintf("ofport_request=%d", patchPort(i, end)))
		}
	}
	for i := range next.Bridges {
		if i >= len(s.now.Bridges) || !cmp.Equal(s.now.Bridges[i], next.Bridges[i]) {
			args = append(args, s.bridgeRow(i, next)...)
		}
	}
	return args
}

func (s *side) bridgeRow(i int, next Config) []string {
	b, name := next.Bridges[i], s.bridge(i)
	args := command(nil, "clear", "bridge", name, "flood_vlans", "mirrors", "external_ids", "other_config", "fail_mode")
	w := words{
		"datapath_type=" + s.lab.DatapathType,
		fmt.Sprintf("other_config:hwaddr=\"02:00:00:00:00:%02x\"", i+1),
		fmt.Sprintf("stp_enable=%t", b.STP), fmt.Sprintf("rstp_enable=%t", b.RSTP),
		fmt.Sprintf("mcast_snooping_enable=%t", b.Snooping),
	}
	w.addIf(s.lane, "external_ids:xdp-offload=%s", b.Mode)
	w.addIf(s.lane && b.Lane != "", "external_ids:xdp-lane=%s", b.Lane)
	w.addIf(s.lane && b.Canary != "", "external_ids:xdp-canary=%s", b.Canary)
	w.addIf(s.lane && b.XDPVLANs != "", "external_ids:xdp-vlans=\"%s\"", b.XDPVLANs)
	w.addIf(len(b.FloodVLANs) > 0, "flood_vlans=%s", list(b.FloodVLANs))
	w.addIf(b.STP, "other_config:stp-forward-delay=4")
	w.addIf(b.STP, "other_config:stp-hello-time=1")
	w.addIf(b.STP, "other_config:stp-max-age=6")
	w.addIf(b.RSTP, "other_config:rstp-forward-delay=4")
	w.addIf(b.RSTP, "other_config:rstp-max-age=6")
	w.addIf(b.Secure, "fail_mode=secure")
	w.addIf(b.MACTableSize != 0, "other_config:mac-table-size=%d", b.MACTableSize)
	w.addIf(b.ForwardBPDU, "other_config:forward-bpdu=true")
	args = command(args, append([]string{"set", "bridge", name}, w...)...)
	for n, m := range b.Mirrors {
		there := func(p int) bool { return p < len(next.Ports) && next.Ports[p].Bridge == i }
		m.Src = slices.DeleteFunc(slices.Clone(m.Src), func(p int) bool { return !there(p) })
		m.Dst = slices.DeleteFunc(slices.Clone(m.Dst), func(p int) bool { return !there(p) })
		if m.Output >= 0 && !there(m.Output) {
			continue // the database wants an output
		}
		id := fmt.Sprintf("%s%d-%d", s.letter, i, n)
		args = append(args, s.mirrorRow(id, m)...)
		args = command(args, "add", "bridge", name, "mirrors", "@mirror"+id)
	}
	return args
}

func (s *side) mirrorRow(id string, m Mirror) []string {
	var args []string
	refs := func(ports []int) string {
		var names []string
		for _, p := range ports {
			ref := fmt.Sprintf("@port%s-%d", id, p)
			if !slices.Contains(args, "--id="+ref) {
				args = command(args, "--id="+ref, "get", "port", s.ports[p].Name)
			}
			names = append(names, ref)
		}
		return strings.Join(names, ",")
	}
	w := words{"name=mirror" + id, fmt.Sprintf("select_all=%t", m.SelectAll)}
	w.addIf(len(m.Src) > 0, "select_src_port=%s", refs(m.Src))
	w.addIf(len(m.Dst) > 0, "select_dst_port=%s", refs(m.Dst))
	w.addIf(len(m.VLANs) > 0, "select_vlan=%s", list(m.VLANs))
	if m.Output >= 0 {
		w.addIf(true, "output_port=%s", refs([]int{m.Output}))
	} else {
		w.addIf(true, "output_vlan=%d", m.OutputVLAN)
	}
	return command(args, append([]string{"--id=@mirror" + id, "create", "mirror"}, w...)...)
}

func portRow(name string, p Port) []string {
	args := command(nil, "clear", "port", name, "tag", "trunks", "vlan_mode", "cvlans", "other_config", "external_ids")
	args = command(args, "clear", "interface", name, "external_ids")
	args = command(args, "set", "interface", name,
		fmt.Sprintf("ingress_policing_rate=%d", p.PolicingRate), fmt.Sprintf("ingress_policing_kpkts_rate=%d", p.PolicingPackets))
	w := words{fmt.Sprintf("protected=%t", p.Protected)}
	w.addIf(p.VLANMode != "", "vlan_mode=%s", p.VLANMode)
	w.addIf(p.Tag != noTag, "tag=%d", p.Tag)
	w.addIf(len(p.Trunks) > 0, "trunks=%s", list(p.Trunks))
	w.addIf(len(p.CVLANs) > 0, "cvlans=%s", list(p.CVLANs))
	w.addIf(p.PriorityTags != "", "other_config:priority-tags=%s", p.PriorityTags)
	w.addIf(p.Offload != "" && !p.OnInterface, "external_ids:xdp-offload=%s", p.Offload)
	args = command(args, append([]string{"set", "port", name}, w...)...)
	if p.Offload != "" && p.OnInterface {
		args = command(args, "set", "interface", name, "external_ids:xdp-offload="+p.Offload)
	}
	for _, key := range [][2]string{{"attached-mac", p.AttachedMAC}, {"xdp-addresses", p.Addresses}, {"xdp-validate", p.Validate}} {
		if key[1] != "" {
			args = command(args, "set", "interface", name, fmt.Sprintf("external_ids:%s=%q", key[0], key[1]))
		}
	}
	return args
}

func list(vlans []ovs.VLAN) string {
	var items []string
	for _, v := range vlans {
		items = append(items, strconv.Itoa(int(v)))
	}
	return strings.Join(items, ",")
}

// links sets the devices as next wants them. New devices are set before the
// database, changed ones after it.
func (s *side) links(next Config, all bool) error {
	for i, p := range next.Ports {
		if !all && i < len(s.now.Ports) && s.now.Ports[i].LinkDown == p.LinkDown && s.now.Ports[i].MTU == p.MTU {
			continue
		}
		if err := s.lab.Hypervisor.SetLink(s.ports[i].Name, !p.LinkDown, p.mtu()); err != nil {
			return err
		}
	}
	return nil
}

// openflow sets what is not in the database.
func (s *side) openflow(next Config) error {
	for i, b := range next.Bridges {
		was := Bridge{}
		if i < len(s.now.Bridges) {
			was = s.now.Bridges[i]
		}
		if b.FragMode != was.FragMode {
			mode := b.FragMode
			if mode == "" {
				mode = "normal"
			}
			if _, err := s.lab.Ofctl("set-frags", s.bridge(i), mode); err != nil {
				return err
			}
		}
		if !cmp.Equal(b.Policy, was.Policy) {
			if err := s.flows(i, b); err != nil {
				return err
			}
		}
	}
	for i, p := range next.Ports {
		was := Port{Bridge: -1}
		if i < len(s.now.Ports) && s.now.Ports[i].Bridge == p.Bridge {
			was = s.now.Ports[i]
		}
		if p.Bridge < 0 {
			continue
		}
		for _, bit := range []struct {
			was, want bool
			set, not  string
		}{
			{was.NoReceive, p.NoReceive, "no-receive", "receive"},
			{was.NoForward, p.NoForward, "no-forward", "forward"},
			{was.OFDown, p.OFDown, "down", "up"},
		} {
			if bit.was == bit.want {
				continue
			}
			action := bit.not
			if bit.want {
				action = bit.set
			}
			if _, err := s.lab.Ofctl("mod-port", s.bridge(p.Bridge), strconv.Itoa(i+1), action); err != nil {
				return err
			}
		}
	}
	return nil
}
