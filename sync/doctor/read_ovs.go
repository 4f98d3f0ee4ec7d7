// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/observe"
	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// patience bounds what OVS and the daemon are asked.
const patience = 15 * time.Second

// snapshot looks at Open vSwitch as the daemon does, at every bridge.
func (h Host) snapshot(ctx context.Context) (snap *ovs.Snapshot, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	socket, _, err := unixctl.DaemonSocket(h.Rundir, "ovs-vswitchd")
	if err != nil {
		return nil, "", err
	}
	control := &unixctl.Client{Socket: socket}
	text, err := control.Call(ctx, "version")
	if err != nil {
		return nil, "", err
	}
	// "ovs-vswitchd (Open vSwitch) 3.1.0", perhaps with more lines.
	line, _, _ := strings.Cut(text, "\n")
	if words := strings.Fields(line); len(words) > 0 {
		version = words[len(words)-1]
	}
	db, err := ovsdb.Dial(ctx, "unix:"+h.Rundir+"/db.sock", nil)
	if err != nil {
		return nil, version, err
	}
	defer db.Close()
	snap, err = observe.New(observe.Config{Database: db, Control: control, OpenFlow: &ofctl.Client{Rundir: h.Rundir}}).Look(ctx)
	return snap, version, err
}

// bridges judges each bridge as if it asked for the lane.
func bridges(snap *ovs.Snapshot, links map[string]plan.Link, policy plan.Policy) []Bridge {
	modes := make(map[string]plan.Bridge)
	for _, b := range plan.Build(snap, links, policy).Bridges {
		modes[b.Name] = b
	}
	asking := *snap
	asking.Bridges = slices.Clone(snap.Bridges)
	for i := range asking.Bridges {
		b := &asking.Bridges[i]
		b.ExternalIDs = maps.Clone(b.ExternalIDs)
		if b.ExternalIDs == nil {
			b.ExternalIDs = make(map[string]string)
		}
		if modes[b.Name].Mode == plan.Off {
			b.ExternalIDs[plan.KeyOffload] = string(plan.On)
			delete(b.ExternalIDs, plan.KeyCanary)
			delete(b.ExternalIDs, plan.KeyVLANs)
		}
	}
	refusals := plan.Build(&asking, links, policy).Refusals
	var list []Bridge
	for i := range snap.Bridges {
		b := &snap.Bridges[i]
		out := Bridge{Name: b.Name, Mode: modes[b.Name].Mode, Errors: modes[b.Name].Errors, Aging: 300, TableSize: 8192}
		for _, r := range refusals {
			if r.Subject == b.Name || strings.HasPrefix(r.Subject, b.Name+"/") {
				out.Refusals = append(out.Refusals, r)
			}
		}
		if b.Detail != nil {
			out.Stations = len(b.Detail.FDB)
		}
		if n, err := strconv.Atoi(b.OtherConfig["mac-aging-time"]); err == nil && n > 0 {
			out.Aging = n
		}
		if n, err := strconv.Atoi(b.OtherConfig["mac-table-size"]); err == nil && n > 0 {
			out.TableSize = n
		}
		list = append(list, out)
	}
	return list
}

// devices lists the devices of all ports, and the slaves of those that are bonds.
func devices(snap *ovs.Snapshot, links map[string]plan.Link) []Device {
	var list []Device
	bonds := make(map[int]bool)
	for _, b := range snap.Bridges {
		for _, p := range b.Ports {
			for _, i := range p.Interfaces {
				if l, ok := links[i.Name]; ok && (i.Type == "" || i.Type == "system") {
					list = append(list, Device{Link: l, Bridge: b.Name, Port: p.Name, Unwatched: plan.WantedOf(&p) != plan.On})
					bonds[l.IfIndex] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if l := links[name]; l.Bond != 0 && bonds[l.Bond] {
			list = append(list, Device{Link: l})
		}
	}
	return list
}

// daemon asks ovs-xdpd how it is, and reads its flags.
func (h Host) daemon(ctx context.Context, files root) Daemon {
	socket, pid, err := unixctl.DaemonSocket(h.Rundir, "ovs-xdpd")
	if errors.Is(err, unixctl.ErrNotRunning) {
		return Daemon{}
	}
	d := Daemon{Running: true}
	if err != nil {
		d.Error = err.Error()
		return d
	}
	for _, arg := range strings.Split(files.text(fmt.Sprintf("proc/%d/cmdline", pid)), "\x00") {
		d.FinishChecksums = d.FinishChecksums || arg == "--finish-checksums"
		d.SetNICOffloads = d.SetNICOffloads || arg == "--set-nic-offloads"
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := (&unixctl.Client{Socket: socket}).CallJSON(ctx, "offload/show")
	var s report.Status
	if err == nil {
		err = json.Unmarshal(reply, &s)
	}
	if err != nil {
		d.Error = "does not answer: " + err.Error()
		return d
	}
	d.Version, d.Lane, d.Why, d.LossesUnseen = s.Version, s.Lane, s.Why, s.LossesUnseen
	return d
}
