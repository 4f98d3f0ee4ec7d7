// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// Register puts the daemon's commands on its control socket. exit is called by
// the command of that name; level is what vlog/set changes.
func (r Reporter) Register(s *unixctl.Server, level *slog.LevelVar, exit func()) {
	// bridge reads an optional bridge name.
	bridge := func(args []string) (string, error) {
		if len(args) == 0 {
			return "", nil
		}
		if !r.HasBridge(args[0]) {
			return "", fmt.Errorf("no such bridge: %s", args[0])
		}
		return args[0], nil
	}
	perBridge := func(name, usage string, show func(bridge string) unixctl.Reply) unixctl.Command {
		return unixctl.Command{Name: name, Usage: usage, MaxArgs: 1, Run: func(_ context.Context, args []string) (unixctl.Reply, error) {
			b, err := bridge(args)
			if err != nil {
				return unixctl.Reply{}, err
			}
			return show(b), nil
		}}
	}
	s.Register(perBridge("offload/show", "[bridge]", func(b string) unixctl.Reply {
		status := r.Status()
		text := status.Text(b)
		if b != "" {
			for _, br := range status.Bridges {
				if br.Name == b {
					status.Bridges = []Bridge{br}
				}
			}
		}
		return unixctl.Reply{Text: text, JSON: status}
	}))
	s.Register(perBridge("port/show", "[bridge]", func(b string) unixctl.Reply {
		ports := r.Ports(b)
		return unixctl.Reply{Text: PortsText(ports), JSON: ports}
	}))
	s.Register(perBridge("fdb/show", "[bridge]", func(b string) unixctl.Reply {
		stations := r.Stations(b)
		return unixctl.Reply{Text: StationsText(stations, b), JSON: stations}
	}))
	s.Register(perBridge("flow/show", "[bridge]", func(b string) unixctl.Reply {
		flows := r.Flows(b)
		return unixctl.Reply{Text: FlowsText(flows), JSON: flows}
	}))
	s.Register(unixctl.Command{Name: "rule/show", Usage: "[bridge]", MaxArgs: 1, Run: func(ctx context.Context, args []string) (unixctl.Reply, error) {
		b, err := bridge(args)
		if err != nil {
			return unixctl.Reply{}, err
		}
		rules, err := r.Rules(ctx, b)
		return unixctl.Reply{Text: r.pastRules(b) + RulesText(rules), JSON: rules}, err
	}})
	s.Register(unixctl.Command{Name: "stats/show", Usage: "[bridge]", MaxArgs: 1, Run: func(ctx context.Context, args []string) (unixctl.Reply, error) {
		b, err := bridge(args)
		if err != nil {
			return unixctl.Reply{}, err
		}
		stats, err := r.Stats(ctx, b)
		return unixctl.Reply{Text: stats.Text(), JSON: stats}, err
	}})
	s.Register(unixctl.Command{Name: "offload/why", Usage: "bridge in_port vlan dst-mac", MinArgs: 4, MaxArgs: 4,
		Run: func(ctx context.Context, args []string) (unixctl.Reply, error) {
			vlan, err := ovs.ParseVLAN(args[2])
			if err != nil {
				return unixctl.Reply{}, err
			}
			dst, err := ovs.ParseMAC(args[3])
			if err != nil {
				return unixctl.Reply{}, err
			}
			why, err := r.Why(ctx, args[0], args[1], vlan, dst)
			return unixctl.Reply{Text: why.Text(), JSON: why}, err
		}})
	s.Register(unixctl.Command{Name: "coverage/show", Run: func(context.Context, []string) (unixctl.Reply, error) {
		total := r.Coverage()
		return unixctl.Reply{Text: CoverageText(total), JSON: total}, nil
	}})
	s.Register(unixctl.Command{Name: "vlog/set", Usage: "LEVEL", MinArgs: 1, MaxArgs: 1, Run: func(_ context.Context, args []string) (unixctl.Reply, error) {
		l, err := ParseLevel(args[0])
		if err == nil {
			level.Set(l)
		}
		return unixctl.Reply{}, err
	}})
	s.Register(unixctl.Command{Name: "exit", Run: func(context.Context, []string) (unixctl.Reply, error) {
		exit()
		return unixctl.Reply{}, nil
	}})
}

// ParseLevel reads a log level by its name in OVS: off, err, warn, info or
// dbg.
func ParseLevel(name string) (slog.Level, error) {
	levels := map[string]slog.Level{
		"off": slog.LevelError + 4, "emer": slog.LevelError + 4, "err": slog.LevelError,
		"warn": slog.LevelWarn, "info": slog.LevelInfo, "dbg": slog.LevelDebug,
		"error": slog.LevelError, "debug": slog.LevelDebug,
	}
	l, ok := levels[name]
	if !ok {
		return 0, fmt.Errorf("log level %q: want off, emer, err, warn, info or dbg", name)
	}
	return l, nil
}
