// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// join builds the Snapshot from the tables, sorted, following the references
// from the single row of Open_vSwitch.
func (c *content) join() (*ovs.Snapshot, error) {
	snap := &ovs.Snapshot{}
	for _, sw := range c.switches { // at most one row, says the schema
		snap.Version = deref(sw.OVSVersion)
		snap.HWOffload = isTrue(sw.OtherConfig["hw-offload"])
		snap.FlowRestoreWait = isTrue(sw.OtherConfig["flow-restore-wait"])
		snap.MaxIdle = maxIdle(sw.OtherConfig)
		rows, err := follow(c.bridges, sw.Bridges, "Open_vSwitch:bridges")
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			b, err := c.bridge(row)
			if err != nil {
				return nil, fmt.Errorf("bridge %s: %w", row.Name, err)
			}
			snap.Bridges = append(snap.Bridges, b)
		}
	}
	slices.SortFunc(snap.Bridges, func(a, b ovs.Bridge) int { return strings.Compare(a.Name, b.Name) })
	return snap, nil
}

// maxIdle is other_config:max-idle, in milliseconds. What OVS makes of a value that
// is no such number depends on its version, so that is taken for short.
func maxIdle(config map[string]string) time.Duration {
	v, ok := config["max-idle"]
	if !ok {
		return ovs.DefaultMaxIdle
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		n = 0
	}
	return max(time.Duration(n)*time.Millisecond, 500*time.Millisecond)
}

func (c *content) bridge(row bridgeRow) (ovs.Bridge, error) {
	b := ovs.Bridge{
		UUID:         row.UUID,
		Name:         row.Name,
		DatapathType: row.DatapathType,
		FailMode:     deref(row.FailMode),
		STP:          row.STP,
		RSTP:         row.RSTP,
		FloodVLANs:   vlans(row.FloodVLANs),
		SFlow:        row.SFlow != nil,
		NetFlow:      row.NetFlow != nil,
		IPFIX:        row.IPFIX != nil,
		ExternalIDs:  withoutPublished(row.ExternalIDs),
		OtherConfig:  maps.Clone(row.OtherConfig),
	}
	if b.FailMode == "" {
		b.FailMode = "standalone"
	}
	for _, fs := range c.flowSamples {
		b.FlowSampling = b.FlowSampling || fs.Bridge == row.UUID
	}
	ports, err := follow(c.ports, row.Ports, "Bridge:ports")
	if err != nil {
		return b, err
	}
	for _, p := range ports {
		port, err := c.port(p)
		if err != nil {
			return b, fmt.Errorf("port %s: %w", p.Name, err)
		}
		b.Ports = append(b.Ports, port)
	}
	slices.SortFunc(b.Ports, func(a, b ovs.Port) int { return strings.Compare(a.Name, b.Name) })

	mirrors, err := follow(c.mirrors, row.Mirrors, "Bridge:mirrors")
	if err != nil {
		return b, err
	}
	slices.SortFunc(mirrors, func(a, b mirrorRow) int { // names need not differ
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID))
	})
	for _, m := range mirrors {
		mirror, err := c.mirror(m)
		if err != nil {
			return b, fmt.Errorf("mirror %s: %w", m.Name, err)
		}
		b.Mirrors = append(b.Mirrors, mirror)
	}

	controllers, err := follow(c.controllers, row.Controllers, "Bridge:controller")
	if err != nil {
		return b, err
	}
	for _, ct := range controllers {
		b.Controllers = append(b.Controllers, ovs.Controller{
			Target: ct.Target, ConnectionMode: deref(ct.ConnectionMode),
		})
	}
	slices.SortFunc(b.Controllers, func(a, b ovs.Controller) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.ConnectionMode, b.ConnectionMode))
	})
	return b, nil
}

func (c *content) port(row portRow) (ovs.Port, error) {
	status := maps.Clone(row.Status)
	// A clock that ovs-vswitchd writes every few seconds on STP bridges:
	// without it, equal states compare equal.
	delete(status, "stp_sec_in_state")
	p := ovs.Port{
		UUID:             row.UUID,
		Name:             row.Name,
		Tag:              vlan(row.Tag),
		Trunks:           vlans(row.Trunks),
		VLANMode:         deref(row.VLANMode),
		Protected:        row.Protected,
		QoS:              row.QoS != nil,
		BondMode:         deref(row.BondMode),
		BondActiveMember: deref(row.BondActiveMember),
		LACP:             deref(row.LACP),
		Status:           status,
		RSTPStatus:       maps.Clone(row.RSTPStatus),
		ExternalIDs:      maps.Clone(row.ExternalIDs),
		OtherConfig:      maps.Clone(row.OtherConfig),
	}
	rows, err := follow(c.interfaces, row.Interfaces, "Port:interfaces")
	for _, i := range rows {
		p.Interfaces = append(p.Interfaces, ovs.Interface{
			UUID:       i.UUID,
			Name:       i.Name,
			Type:       i.Type,
			OFPort:     deref(i.OFPort),
			IfIndex:    deref(i.IfIndex),
			Error:      deref(i.Error),
			MACInUse:   deref(i.MACInUse),
			AdminState: deref(i.AdminState),
			LinkState:  deref(i.LinkState),
			Policing: ovs.Policing{Rate: i.PolicingRate, Burst: i.PolicingBurst,
				PacketRate: i.PolicingPacketsRate, PacketBurst: i.PolicingPacketsBurst},
			BFD:         isTrue(i.BFD["enable"]),
			CFM:         i.CFM != nil,
			ExternalIDs: maps.Clone(i.ExternalIDs),
			OtherConfig: maps.Clone(i.OtherConfig),
			Options:     maps.Clone(i.Options),
		})
	}
	slices.SortFunc(p.Interfaces, func(a, b ovs.Interface) int { return strings.Compare(a.Name, b.Name) })
	return p, err
}

func (c *content) mirror(row mirrorRow) (ovs.Mirror, error) {
	m := ovs.Mirror{
		Name:        row.Name,
		SelectAll:   row.SelectAll,
		SelectVLANs: vlans(row.SelectVLANs),
		OutputVLAN:  vlan(row.OutputVLAN),
	}
	var err error
	if m.SelectSrcPorts, err = c.portNames(row.SelectSrcPorts, "Mirror:select_src_port"); err != nil {
		return m, err
	}
	if m.SelectDstPorts, err = c.portNames(row.SelectDstPorts, "Mirror:select_dst_port"); err != nil {
		return m, err
	}
	if row.OutputPort != nil {
		out, err := c.portNames([]string{*row.OutputPort}, "Mirror:output_port")
		if err != nil {
			return m, err
		}
		m.OutputPort = out[0]
	}
	return m, nil
}

// portNames returns the sorted names of the ports with these UUIDs.
func (c *content) portNames(uuids []string, column string) ([]string, error) {
	rows, err := follow(c.ports, uuids, column)
	var names []string
	for _, p := range rows {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names, err
}

// follow looks up the rows that column refers to.
func follow[T any](rows map[string]T, uuids []string, column string) ([]T, error) {
	var found []T
	for _, uuid := range uuids {
		row, ok := rows[uuid]
		if !ok {
			return nil, fmt.Errorf("%s names the missing row %s: %w", column, uuid, ErrTorn)
		}
		found = append(found, row)
	}
	return found, nil
}

// deref returns the value of an optional column, the zero value when empty.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// isTrue reads a boolean of a string map the way ovs-vswitchd does
// (smap_get_bool with the default false).
func isTrue(s string) bool { return strings.EqualFold(s, "true") }

func vlan(v *int) *ovs.VLAN {
	if v == nil {
		return nil
	}
	n := ovs.VLAN(*v)
	return &n
}

func vlans(vs []int) []ovs.VLAN {
	var out []ovs.VLAN
	for _, v := range vs {
		out = append(out, ovs.VLAN(v))
	}
	slices.Sort(out)
	return out
}
