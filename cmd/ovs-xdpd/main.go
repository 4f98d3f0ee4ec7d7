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

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

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
