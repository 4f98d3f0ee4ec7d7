// SPDX-License-Identifier: Apache-2.0

// Command ovs-xdpd runs beside ovs-vswitchd and gives known unicast frames an
// express lane in XDP.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

type flags struct {
	AllowGeneric    bool             `help:"Take ports without native XDP too, in generic mode, which is slower than OVS."`
	AuditInterval   time.Duration    `default:"1s" help:"Ask OVS this often what it would do with a frame, and compare; 0s turns it off."`
	BPFFS           string           `name:"bpffs" default:"/sys/fs/bpf" help:"The bpffs through which --takeover hands over the lane. Nothing stays there."`
	Detach          bool             `help:"Go to the background, once the daemon is in charge."`
	FDBRows         int              `name:"fdb-rows" default:"65536" help:"Stations that the FDB in the kernel holds."`
	MaxPorts        int              `default:"1024" help:"Devices that may be on the lane."`
	FinishChecksums bool             `help:"Finish L4 checksums that machines leave to their devices (tx-checksumming), so that such frames take the lane; without it they stay with OVS. A frame made corrupt by hand in exactly that way would arrive repaired instead of corrupt."`
	KeepAlive       time.Duration    `name:"keepalive" default:"5s" help:"Let a frame of each station pass to OVS this often."`
	LogLevel        string           `default:"info" help:"off, err, warn, info or dbg; see also the command vlog/set."`
	RuleRows        int              `name:"rule-rows" default:"8192" help:"OpenFlow rules that the kernel's tables hold, twice as many as are in use at a time. A rule counts once for each port that it applies to."`
	RulesPerList    int              `default:"256" help:"OpenFlow rules that a frame is compared with at most: those for its port, and those for its destination. Where there are more, frames stay with OVS."`
	SetNICOffloads  bool             `name:"set-nic-offloads" help:"Turn off rx-vlan-offload and LRO of uplinks while they are on the lane, and restore them at the end."`
	Takeover        bool             `help:"Take the place of the ovs-xdpd that runs here, without closing the lane. When it fails, that one goes on; when none runs, this one just starts."`
	Version         kong.VersionFlag `help:"Print the version and exit."`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == host.RestorerCommand {
		os.Exit(host.Restore(os.Stdin, os.Stderr))
	}
	var f flags
	kong.Parse(&f,
		kong.Name("ovs-xdpd"),
		kong.Description("An express lane in XDP beside Open vSwitch. Runs in the foreground (unless --detach), "+
			"logs to standard error, and obeys external_ids:xdp-offload of each bridge. OVS_RUNDIR says where OVS is "+
			"(default /var/run/openvswitch). SIGTERM detaches everything."),
		kong.Vars{"version": "ovs-xdpd " + report.Version},
	)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var err error
	if f.Detach {
		err = detach()
	} else {
		err = run(ctx, stop, f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "ovs-xdpd: %v\n", err)
		stop()
		os.Exit(1)
	}
}
