// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
)

// ruleCount is an element of rule/show.
type ruleCount struct {
	Table    uint8  `json:"table"`
	Priority uint16 `json:"priority"`
	Match    string `json:"match"`
	Actions  string `json:"actions"`
	Total    hits   `json:"total"`
}

type hits struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// uncounted notes frames that OVS may lose before it looks at its rules, where
// the lane does not: its userspace datapath does not read what is larger than
// the port's MTU.
func (x *run) uncounted(frames []*Frame) {
	for _, f := range frames {
		if p := &x.cfg.Ports[f.Port]; p.Bridge >= 0 && len(f.Data) > p.mtu()+14 {
			x.oversize[p.Bridge]++
		}
	}
}

// counts compares, at the end of a case, n_packets of OVS alone with what
// ovs-xdpd says in sum of the lane and OVS, rule by rule.
func (x *run) counts() error {
	var bridges []int
	for i, b := range x.cfg.Bridges {
		// Flows do not tell which rules made them.
		if b.Policy != nil && !b.Policy.Overlaps && !x.rewritten[i] && !x.flowed[i] {
			bridges = append(bridges, i)
		}
	}
	if len(bridges) == 0 {
		return nil
	}
	if err := x.purge(); err != nil { // OVS counts what flows have counted
		return err
	}
	for _, i := range bridges {
		var differ string
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			alone, err := x.aloneCounts(i)
			if err != nil {
				return err
			}
			lane, err := x.laneCounts(i)
			if err != nil {
				return err
			}
			if differ = diffCounts(alone, lane, x.oversize[i]); differ == "" {
				x.tally.rules(alone)
				break
			}
			if time.Since(began) > 3*late {
				x.fail("counts", fmt.Sprintf("  counts of bridge %d differ (%d frames too large to be counted for certain):\n%s", i, x.oversize[i], differ))
				break
			}
		}
	}
	return nil
}

func (x *run) aloneCounts(bridge int) (map[string]hits, error) {
	all, err := (&ofctl.Client{Rundir: x.lab.RunDir}).Rules(context.Background(), x.Rig.alone.bridge(bridge))
	counts := make(map[string]hits)
	for _, r := range all {
		var match []string
		for _, m := range r.Match {
			match = append(match, strings.TrimSuffix(m.Field+"="+m.Value, "="))
		}
		c := ruleCount{r.Table, r.Priority, strings.Join(append(match, r.Unknown...), ","), strings.Join(r.Actions, ","), hits{r.Packets, r.Bytes}}
		counts[c.name()] = c.Total
	}
	return counts, err
}

func (x *run) laneCounts(bridge int) (map[string]hits, error) {
	all, err := askLane[[]ruleCount](x.Rig, "rule/show", x.lane.bridge(bridge))
	counts := make(map[string]hits)
	for _, c := range all {
		counts[c.name()] = c.Total
	}
	return counts, err
}

func (c *ruleCount) name() string {
	// Each side has its own zone (side.flows).
	actions := strings.NewReplacer(",zone=1)", ")", ",zone=2)", ")").Replace(c.Actions)
	return fmt.Sprintf("table=%d,priority=%d,%s actions=%s", c.Table, c.Priority, c.Match, actions)
}

// diffCounts lists rules whose counts are not the same. Those with the lane may be
// larger by as many frames as are uncertain.
func diffCounts(alone, lane map[string]hits, uncertain int) string {
	all := maps.Clone(alone)
	maps.Copy(all, lane)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a, inAlone := alone[name]
		l, inLane := lane[name]
		more := int64(l.Frames - a.Frames)
		if inAlone != inLane || more < 0 || more > int64(uncertain) || more == 0 && a.Bytes != l.Bytes {
			fmt.Fprintf(&b, "    %s: OVS alone %d frames, %d bytes; with the lane %d, %d\n", name, a.Frames, a.Bytes, l.Frames, l.Bytes)
		}
	}
	return b.String()
}
