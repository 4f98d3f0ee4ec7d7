// SPDX-License-Identifier: Apache-2.0

// Command ovs-xdpctl asks a running ovs-xdpd how the express lane stands.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

type flags struct {
	Output  string           `short:"o" enum:"text,json" default:"text" help:"text or json."`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Status struct {
		Bridge string `arg:"" optional:"" help:"Only this bridge."`
	} `cmd:"" help:"Show the daemon, every bridge, and what stays with OVS and why."`
	Ports struct {
		Bridge string `arg:"" optional:"" help:"Only this bridge."`
	} `cmd:"" help:"Show ports, how many frames took which path, and how many their devices lost."`
	FDB struct {
		Bridge string `arg:"" optional:"" help:"Only this bridge."`
	} `cmd:"" name:"fdb" help:"Show the stations in the kernel's FDB."`
	Why struct {
		Bridge string `arg:"" help:"Bridge."`
		InPort string `arg:"" help:"Port that the frame comes from, by name or OpenFlow number."`
		VLAN   string `arg:"" name:"vlan" help:"VLAN as in fdb; 0 on an access port stands for its own."`
		DstMAC string `arg:"" name:"dst-mac" help:"Destination address."`
	} `cmd:"" help:"Say which way a frame takes and why, next to what OVS says (ofproto/trace)."`
	Rules struct {
		Bridge string `arg:"" optional:"" help:"Only this bridge."`
	} `cmd:"" help:"Show OpenFlow rules, what the lane makes of each, and how many frames hit it on the lane, in OVS, and together."`
	Coverage struct{} `cmd:"" help:"Show counters of all ports together, by reason, and frames-lost: those that were lost after a redirect."`
}

// call maps the command line to a command of the control socket.
func (f *flags) call(command string) (method string, args []string) {
	method = map[string]string{"status": "offload/show", "ports": "port/show", "fdb": "fdb/show",
		"why": "offload/why", "rules": "rule/show", "coverage": "coverage/show"}[command]
	if bridge := f.Status.Bridge + f.Ports.Bridge + f.FDB.Bridge + f.Rules.Bridge; bridge != "" {
		args = append(args, bridge)
	}
	if w := f.Why; command == "why" {
		args = []string{w.Bridge, w.InPort, w.VLAN, w.DstMAC}
	}
	return method, args
}

func main() {
	var f flags
	k := kong.Parse(&f,
		kong.Name("ovs-xdpctl"),
		kong.Description("Shows how the express lane of ovs-xdpd stands. OVS_RUNDIR says where its control socket is "+
			"(default /var/run/openvswitch). Exit code 1: the daemon does not run, or refused the command."),
		kong.Vars{"version": "ovs-xdpctl " + report.Version},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	method, args := f.call(k.Selected().Name)
	if err := ask(os.Stdout, method, args, f.Output == "json"); err != nil {
		// What the daemon says to the user needs no path of a socket.
		if said, ok := errors.AsType[*unixctl.CommandError](err); ok {
			err = errors.New(said.Text)
		}
		fmt.Fprintf(os.Stderr, "ovs-xdpctl: %v\n", err)
		os.Exit(1)
	}
}

// ask prints the daemon's answer.
func ask(w io.Writer, method string, args []string, asJSON bool) error {
	socket, _, err := unixctl.DaemonSocket(unixctl.Rundir(), "ovs-xdpd")
	if err != nil {
		return fmt.Errorf("%w (is ovs-xdpd started? OVS_RUNDIR is %s)", err, unixctl.Rundir())
	}
	client := &unixctl.Client{Socket: socket}
	if !asJSON {
		text, err := client.Call(context.Background(), method, args...)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		return err
	}
	reply, err := client.CallJSON(context.Background(), method, args...)
	if err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, reply, "", "  "); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	pretty.WriteByte('\n')
	_, err = pretty.WriteTo(w)
	return err
}
