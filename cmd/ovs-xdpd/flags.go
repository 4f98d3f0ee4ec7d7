// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/bpf"
)

type flags struct {
	AllowGeneric    bool             `help:"Take ports without native XDP too, in generic mode, which is slower than OVS."`
	AuditInterval   time.Duration    `default:"1s" help:"Ask OVS this often what it would do with a frame, and compare; 0s turns it off."`
	BPFFS           string           `name:"bpffs" default:"/sys/fs/bpf" help:"The bpffs through which --takeover hands over the lane. Nothing stays there."`
	Detach          bool             `help:"Go to the background, once the daemon is in charge."`
	FDBRows         int              `name:"fdb-rows" default:"65536" help:"Stations that the FDB in the kernel holds."`
	FlowRows        int              `name:"flow-rows" default:"65536" help:"Flows of OVS that the kernel holds, for bridges that use flows (external_ids:xdp-lane)."`
	MaxPorts        int              `default:"1024" help:"Devices that may be on the lane."`
	FinishChecksums bool             `help:"Finish L4 checksums that machines leave to their devices (tx-checksumming), so that such frames take the lane; without it they stay with OVS. A frame made corrupt by hand in exactly that way would arrive repaired instead of corrupt."`
	KeepAlive       time.Duration    `name:"keepalive" default:"5s" help:"Let a frame of each station pass to OVS this often."`
	LogLevel        string           `default:"info" help:"off, err, warn, info or dbg; see also the command vlog/set."`
	MetricsListen   string           `name:"metrics-listen" placeholder:"ADDRESS" help:"Serve metrics for Prometheus at 127.0.0.1:PORT, HOST:PORT or unix:/PATH; a port alone stands for one of 127.0.0.1. Off without it."`
	PublishStatus   bool             `help:"Write the status of each bridge into its external_ids (xdp-status and others) at most every 30 s, for a fleet that is watched with tools of OVS; removed at the end."`
	RuleRows        int              `name:"rule-rows" default:"8192" help:"OpenFlow rules that the kernel's tables hold, twice as many as are in use at a time. A rule counts once for each port that it applies to."`
	RulesPerList    int              `default:"256" help:"OpenFlow rules that a frame is compared with at most: those for its port, and those for its destination. Where there are more, frames stay with OVS."`
	SetNICOffloads  bool             `name:"set-nic-offloads" help:"Turn off rx-vlan-offload and LRO of uplinks while they are on the lane, and restore them at the end."`
	Takeover        bool             `help:"Take the place of the ovs-xdpd that runs here, without closing the lane. When it fails, that one goes on; when none runs, this one just starts."`
	Version         kong.VersionFlag `help:"Print the version and exit."`
}

// check refuses what no daemon can be run with.
func (f flags) check() error {
	if f.KeepAlive < 0 || f.KeepAlive > time.Hour {
		return fmt.Errorf("--keepalive=%v: want 0s to 1h", f.KeepAlive)
	}
	if f.AuditInterval < 0 || f.AuditInterval > time.Hour {
		return fmt.Errorf("--audit-interval=%v: want 0s (off) to 1h", f.AuditInterval)
	}
	if f.RulesPerList < 1 || f.RulesPerList > bpf.MaxList {
		return fmt.Errorf("--rules-per-list=%d: want 1 to %d", f.RulesPerList, bpf.MaxList)
	}
	return nil
}
