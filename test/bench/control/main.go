// SPDX-License-Identifier: Apache-2.0

// Command control measures how ovs-xdpd keeps up with Open vSwitch: one bridge
// with hundreds of ports and up to 100,000 stations, a real ovs-vswitchd, and
// the daemon as it is built. It looks at the kernel's table itself, so that what
// it measures is not what the daemon says of itself.
//
// It needs root, touches nothing of the host's own network or Open vSwitch, and
// leaves nothing behind. It writes its figures as JSON, as a table and as a plot.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// bench is a run of the command.
type bench struct {
	ports, rounds, news, moves int
	stations                   []int
	kinds                      []string
	window                     time.Duration
	daemon                     []string
}

func main() {
	var b bench
	flag.IntVar(&b.ports, "ports", 500, "ports of the bridge, a multiple of 20")
	flag.IntVar(&b.rounds, "rounds", 5, "cold starts of each kind")
	flag.IntVar(&b.news, "new", 200, "new stations, one after the other")
	flag.IntVar(&b.moves, "moves", 1000, "stations that move within a second")
	flag.DurationVar(&b.window, "idle", 60*time.Second, "how long to be idle")
	stations := flag.String("stations", "1000,10000,100000", "numbers of stations")
	kinds := flag.String("kinds", "tap,veth", "kinds of ports; all but cold starts is measured with the first")
	daemon := flag.String("daemon", "", "flags of ovs-xdpd, separated by blanks")
	out := flag.String("out", "", "folder for results.json and growth.svg; none are written without")
	readme := flag.String("readme", "", "file that the table is written into, between its marks")
	flag.Parse()
	b.kinds, b.daemon = strings.Split(*kinds, ","), strings.Fields(*daemon)
	for _, s := range strings.Split(*stations, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench-control: -stations:", err)
			os.Exit(2)
		}
		b.stations = append(b.stations, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := b.run(ctx, *out, *readme); err != nil {
		fmt.Fprintln(os.Stderr, "bench-control:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, out, readme string) error {
	if _, err := lab.Binaries(); err != nil {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-") // who built it does not matter
	r := result{Kernel: release, CPUs: runtime.NumCPU(), Load: load(), Ports: b.ports, Rounds: b.rounds}
	for _, n := range b.stations {
		r.Figures = append(r.Figures, row{Stations: n, Cold: make(map[string][]float64), Whole: make(map[string][]float64)})
	}
	for i, kind := range b.kinds {
		if err := b.measure(ctx, &r, kind, i == 0); err != nil {
			return err
		}
	}
	fmt.Print("\n", r.table(b.kinds))
	return r.write(b.kinds, out, readme)
}

// measure takes the figures of one kind of ports, with more and more stations.
func (b *bench) measure(ctx context.Context, r *result, kind string, all bool) (err error) {
	fmt.Printf("%d %s ports ...\n", b.ports, kind)
	n, err := newNetwork(kind, b.ports)
	if n != nil {
		defer func() { err = errors.Join(err, n.Close()) }()
	}
	if err != nil {
		return err
	}
	if r.OVS, err = n.Appctl("version"); err != nil {
		return err
	}
	r.OVS = strings.TrimSpace(r.OVS)
	if _, err := n.OVS("set", "bridge", "br0", "external_ids:xdp-offload=on"); err != nil {
		return err
	}
	for i := range r.Figures {
		f := &r.Figures[i]
		if err := n.populate(ctx, f.Stations); err != nil {
			return err
		}
		args := append([]string{"--fdb-rows=" + strconv.Itoa(max(65536, f.Stations*5/4))}, b.daemon...)
		if all {
			alone, err := n.idle(ctx, b.window)
			if err != nil {
				return err
			}
			f.OVSAlone = 100 * alone.OVS
		}
		for round := range b.rounds {
			ready, whole, err := n.start(ctx, args...)
			if err != nil {
				return err
			}
			f.Cold[kind], f.Whole[kind] = append(f.Cold[kind], millis(ready)), append(f.Whole[kind], millis(whole))
			fmt.Printf("%s stations, %s ports: cold start %s ms, %s from exec\n", thousands(f.Stations), kind, figure(millis(ready)), figure(millis(whole)))
			if all && round == b.rounds-1 {
				if err := b.alive(ctx, n, f); err != nil {
					return err
				}
			}
			if err := n.daemon.Stop(); err != nil {
				return err
			}
			n.daemon = nil
		}
	}
	return nil
}

// alive takes the figures of a daemon that runs.
func (b *bench) alive(ctx context.Context, n *network, f *row) error {
	select { // what the start has left to do
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(5 * time.Second):
	}
	quiet, err := n.idle(ctx, b.window)
	if err != nil {
		return err
	}
	const mib = 1 << 20
	f.CPU, f.OVSPolled = 100*quiet.Daemon, 100*quiet.OVS
	f.RSS, f.Peak, f.Grown = float64(quiet.Memory.resident)/mib, float64(quiet.Memory.peak)/mib, float64(quiet.Grown)/mib
	fmt.Printf("%s stations, idle: daemon %s %%, ovs-vswitchd %s %% (alone %s), %s MiB (own %s, peak %s, grown %s)\n", thousands(f.Stations),
		figure(f.CPU), figure(f.OVSPolled), figure(f.OVSAlone), figure(f.RSS), figure(float64(quiet.Memory.own)/mib), figure(f.Peak), figure(f.Grown))
	took, written, err := n.newStations(ctx, b.news)
	if err != nil {
		return err
	}
	f.New, f.Written = allMillis(took), written
	fmt.Printf("%s stations, %d new: median %s ms, p99 %s, most %s; %d rows written\n", thousands(f.Stations), len(took),
		figure(median(f.New)), figure(quantile(f.New, 0.99)), figure(quantile(f.New, 1)), written)
	moved, after, err := n.move(ctx, b.moves, time.Second)
	if err != nil {
		return err
	}
	f.Moves, f.Settled = allMillis(moved), millis(after)
	fmt.Printf("%s stations, %d moves: median %s ms, p99 %s, all %s ms after the last\n", thousands(f.Stations), len(moved),
		figure(median(f.Moves)), figure(quantile(f.Moves, 0.99)), figure(f.Settled))
	return nil
}
