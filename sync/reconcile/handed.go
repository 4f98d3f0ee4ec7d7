// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// handFormat is the version of the documents here.
const handFormat = 2

// offer is the answer to takeover/begin.
type offer struct {
	Format int
	// Dir is where the tables are pinned.
	Dir string
	// Modes holds how devices have their programs, by ifindex, so that those
	// for one device can be loaded ahead. It may have changed later.
	Modes map[int]plan.Mode
	// AsksPeers is host.AsksPeers.
	AsksPeers bool
}

// state is the answer to takeover/take: what is not in the tables.
type state struct {
	// Ports as they were last written; the tables are the judge of the rules.
	Ports []plan.Port
	// Bridges has the numbers of bridges in the tables, by Bridge:name.
	Bridges map[string]uint8
	// Lists is what there is of lists.
	Lists handedLists
	// Held is what is kept off of devices.
	Held host.Holds
	// Seen has the stations that the program saw lately.
	Seen []sighting
	// Losing has the devices that lose or have lost frames.
	Losing []losing
	// Audits is what the audit has found.
	Audits audits
}

// sighting is an event, and how long ago it was.
type sighting struct {
	bpf.Event
	Ago time.Duration
}

// pinDir is the directory for the pins of the daemon of a run directory: whoever
// holds the pidfile there owns it.
func pinDir(bpffs, rundir string) string {
	if abs, err := filepath.Abs(rundir); err == nil {
		rundir = abs
	}
	sum := sha256.Sum256([]byte(filepath.Clean(rundir)))
	return filepath.Join(bpffs, bpf.PinPrefix+hex.EncodeToString(sum[:8]))
}

// Register puts the commands for a successor on the control socket.
func (d *Daemon) Register(s *unixctl.Server) {
	answer := func(v any, err error) (unixctl.Reply, error) {
		if err != nil {
			return unixctl.Reply{}, err
		}
		b, err := json.Marshal(v)
		return unixctl.Reply{Text: string(b), JSON: v}, err
	}
	s.Register(unixctl.Command{Name: "takeover/begin", Usage: "layout-version bpffs", MinArgs: 2, MaxArgs: 2,
		Run: func(ctx context.Context, args []string) (unixctl.Reply, error) {
			layout, err := strconv.Atoi(args[0])
			if err != nil {
				return unixctl.Reply{}, fmt.Errorf("layout version %q: want a number", args[0])
			}
			return answer(d.begin(unixctl.PeerPID(ctx), layout, args[1]))
		}})
	s.Register(unixctl.Command{Name: "takeover/take", Run: func(ctx context.Context, _ []string) (unixctl.Reply, error) {
		return answer(d.take(ctx, unixctl.PeerPID(ctx)))
	}})
	s.Register(unixctl.Command{Name: "takeover/commit", Run: func(ctx context.Context, _ []string) (unixctl.Reply, error) {
		return unixctl.Reply{}, d.commit(unixctl.PeerPID(ctx))
	}})
}

// Left tells whether another daemon has taken over.
func (d *Daemon) Left() bool {
	d.hand.mu.Lock()
	defer d.hand.mu.Unlock()
	return d.hand.left
}

// inCharge tells whoever started this daemon.
func (d *Daemon) inCharge() {
	if d.cfg.InCharge == nil {
		return
	}
	if err := d.cfg.InCharge(); err != nil {
		d.log.Warn("who started this daemon does not know that it runs", "error", err)
	}
}
