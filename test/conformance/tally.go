// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tally counts over cases.
type Tally struct {
	Began          time.Time
	Cases, Bridges int
	Frames         int
	// Eligible counts frames about which the lane had to decide, Lane those of
	// them that took it, and Dropped those that rules dropped there.
	Eligible, Lane, Dropped int
	// Missed counts why the others did not.
	Missed map[string]uint64
	// Kinds counts frames by kind, Modes by the VLAN mode of the port where
	// they were sent, Reasons by what the program made of them.
	Kinds   map[string]int
	Modes   map[string]int
	Reasons map[string]uint64
	// Settings counts the settings of bridges and ports that are not the
	// default, at the start of a case.
	Settings map[string]int
	// Rules counts rules whose frames were compared, RuleFrames these frames by
	// what the rule does: "other" stands for the last of a table.
	Rules      int
	RuleFrames map[string]uint64
	// Failures and Unstable count cases that differ, always or once.
	Failures, Unstable int
}

// NewTally returns a Tally that begins now.
func NewTally() *Tally {
	return &Tally{Began: time.Now(), Missed: make(map[string]uint64), Kinds: make(map[string]int),
		Modes: make(map[string]int), Reasons: make(map[string]uint64), Settings: make(map[string]int),
		RuleFrames: make(map[string]uint64)}
}

func (t *Tally) frame(c *Config, f *Frame) {
	t.Frames++
	t.Kinds[f.Kind]++
	if c.Ports[f.Port].Bridge >= 0 {
		t.Modes[c.Ports[f.Port].mode()]++
	}
}

// steady counts frames about which the lane had to decide, and tells whether it
// has decided about all.
func (t *Tally) steady(frames int, before, after map[string]uint64) bool {
	lane, dropped := int(after["lane"]-before["lane"]), int(after["dropped"]-before["dropped"])
	t.Eligible += frames
	t.Lane += lane
	t.Dropped += dropped
	if lane+dropped >= frames {
		return true
	}
	for reason, n := range after {
		if d := n - before[reason]; d > 0 && reason != "lane" && reason != "dropped" {
			t.Missed[reason] += d
		}
	}
	return false
}

// rules counts what rules have counted.
func (t *Tally) rules(all map[string]hits) {
	for name, h := range all {
		_, actions, _ := strings.Cut(name, " actions=")
		if strings.Contains(name, "priority=0,") {
			actions = "other"
		} else if i := strings.IndexAny(actions, ":(,"); i >= 0 {
			actions = actions[:i]
		}
		t.Rules++
		t.RuleFrames[actions] += h.Frames
	}
}

func (t *Tally) end(c *Case, reasons map[string]uint64) {
	t.Cases++
	t.Bridges += len(c.Config.Bridges)
	for reason, n := range reasons {
		t.Reasons[reason] += n
	}
	for i := range c.Config.Bridges {
		t.settings(c.Config.Bridges[i].words())
	}
	for i := range c.Config.Ports {
		t.settings(c.Config.Ports[i].words())
	}
}

func (t *Tally) settings(w words) {
	for _, setting := range w {
		name, value, _ := strings.Cut(setting, "=")
		if name == "vlan_mode" || name == "xdp-offload" || name == "priority-tags" {
			name += "=" + value
		}
		name, _, _ = strings.Cut(name, "(")
		name, _, _ = strings.Cut(name, " ")
		t.Settings[name]++
	}
}

// Share is the percentage of the frames about which the lane had to decide and
// did.
func (t *Tally) Share() float64 {
	if t.Eligible == 0 {
		return 0
	}
	return 100 * float64(t.Lane+t.Dropped) / float64(t.Eligible)
}

// share is the percentage of plain known unicast that the lane must decide about,
// where it knows all rules.
const share = 99

// lacks tells what the lane did too little of; "" is nothing, or that there are
// too few cases to tell.
func (t *Tally) lacks() string {
	switch {
	case t.Cases < 100: // chance makes what there is
	case t.Eligible < t.Frames/40:
		return fmt.Sprintf("only %d frames had to take the lane or be dropped there: too few to tell", t.Eligible)
	case t.Dropped < t.Eligible/50:
		return fmt.Sprintf("only %d of the frames were dropped by rules on the lane: too few to tell", t.Dropped)
	}
	return t.shirks()
}

// flowless tells that too few frames took the lane where no frame has to; "" is
// enough, or that there are too few cases to tell.
func (t *Tally) flowless() string {
	if n := t.Reasons["lane"]; t.Cases >= 10 && n < uint64(t.Frames/10) {
		return fmt.Sprintf("only %d of %d frames took the lane", n, t.Frames)
	}
	return ""
}

// shirks tells that the lane left to OVS what it had to decide about; "" when it
// did not.
func (t *Tally) shirks() string {
	if t.Eligible < 50 || t.Share() >= share {
		return ""
	}
	return fmt.Sprintf("%.2f %% of plain known unicast took the lane or were dropped there, want %d %%", t.Share(), share)
}

// Line is the tally in a line.
func (t *Tally) Line() string {
	elapsed := time.Since(t.Began)
	return fmt.Sprintf("%d cases, %d bridges, %d frames (%.0f/s), of %d plain frames %d on the lane and %d dropped there (%.2f %%), %d failures, %d unstable, %v",
		t.Cases, t.Bridges, t.Frames, float64(t.Frames)/elapsed.Seconds(), t.Eligible, t.Lane, t.Dropped, t.Share(),
		t.Failures, t.Unstable, elapsed.Round(time.Second))
}

// Coverage says what occurred and what never did.
func (t *Tally) Coverage() string {
	var b strings.Builder
	var never []string
	for _, kinds := range [][]kind{plainKinds, oddKinds, aloneKinds, hellos} {
		for _, k := range kinds {
			if t.Kinds[k.name] == 0 {
				never = append(never, k.name)
			}
		}
	}
	fmt.Fprintf(&b, "frames by VLAN mode of their port: %s\n", counts(t.Modes))
	fmt.Fprintf(&b, "settings: %s\n", counts(t.Settings))
	fmt.Fprintf(&b, "frames by kind: %s\n", counts(t.Kinds))
	if len(never) > 0 {
		fmt.Fprintf(&b, "kinds that never occurred: %s\n", strings.Join(never, ", "))
	}
	fmt.Fprintf(&b, "what the program made of them: %s\n", counts(t.Reasons))
	fmt.Fprintf(&b, "%d rules with equal counts, frames by what the rule does: %s\n", t.Rules, counts(t.RuleFrames))
	if len(t.Missed) > 0 {
		fmt.Fprintf(&b, "plain frames off the lane, by reason: %s\n", counts(t.Missed))
	}
	return b.String()
}

func counts[N int | uint64](m map[string]N) string {
	var items []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		items = append(items, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(items, ", ")
}
