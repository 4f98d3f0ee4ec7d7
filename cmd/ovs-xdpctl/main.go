// SPDX-License-Identifier: Apache-2.0

// Command ovs-xdpctl asks a running ovs-xdpd how the express lane stands, says
// what of a host is in its way, and takes everything off the host when the
// daemon can't.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], &environment{stdout: os.Stdout, stderr: os.Stderr, colours: colours(os.Stdout)})
	stop()
	if err != nil && err.Error() != "" {
		fmt.Fprintf(os.Stderr, "ovs-xdpctl: %v\n", err)
	}
	os.Exit(exitCode(err))
}

// run does what the arguments ask for.
func run(ctx context.Context, args []string, env *environment) error {
	parser, err := newParser(env)
	if err != nil {
		return err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return usageError(err)
	}
	env.ctx, env.json = ctx, env.commands.Output == "json"
	return k.Run(env)
}

// newParser describes the command line.
func newParser(env *environment) (*kong.Kong, error) {
	return kong.New(&env.commands,
		kong.Name("ovs-xdpctl"),
		kong.Description("Shows how the express lane of ovs-xdpd stands. OVS_RUNDIR says where its control socket is "+
			"(default /var/run/openvswitch). "+exitCodes),
		kong.Vars{"version": "ovs-xdpctl " + report.Version, "maxSnap": strconv.Itoa(bpf.MaxSnap)},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(env.stdout, env.stderr),
		kong.Bind(env),
	)
}
