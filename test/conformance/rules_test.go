// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules/rulestest"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

var tables = flag.Int("tables", 100, "how many random sets of OpenFlow rules to ask ofproto/trace about")

// framesOfTable is how many frames each is asked about.
const framesOfTable = 30

// TestRulesAsTraced installs random rules in Open vSwitch, and compares what
// becomes of them once they are read back and compiled with what ofproto/trace
// says of random frames.
func TestRulesAsTraced(t *testing.T) {
	l := lab.NewT(t)
	if err := l.AddBridge("br0", "fail_mode=secure"); err != nil {
		t.Fatal(err)
	}
	for port := 1; port <= rulestest.Ports; port++ {
		name := fmt.Sprint("p", port)
		if _, err := l.OVS("add-port", "br0", name, "--", "set", "interface", name, "type=internal", fmt.Sprint("ofport_request=", port)); err != nil {
			t.Fatal(err)
		}
	}
	var count struct{ frames, ambiguous, left int }
	var verdicts [3]int
	for s := range uint64(*tables) {
		seed := *seed + s
		g := rulestest.New(seed)
		list := g.Rules(5+g.IntN(40), seed%2 == 0)
		parsed, err := install(l, list)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		table := rules.Compile(parsed)
		for i := range framesOfTable {
			f := g.Frame(list)
			// Half of them as bytes, from which OVS takes the fields itself.
			question := []string{"br0", f.String()}
			if i%2 == 0 {
				question = []string{"br0", fmt.Sprintf("in_port=%d", uint16(f.Port)), hex.EncodeToString(f.Bytes())}
			}
			text, err := l.Appctl(append([]string{"ofproto/trace"}, question...)...)
			if err != nil {
				t.Fatalf("seed %d: frame %s: %v", seed, f, err)
			}
			got, rule := table.Decide(f.Port, f.Fields)
			ways := rulestest.Ways(list, &f)
			traced := readTraced(text)
			count.frames++
			verdicts[got]++
			if len(ways) > 1 {
				count.ambiguous++
			} else if got == rules.Pass && traced.verdict != rules.Pass {
				count.left++
			}
			wrong := traced.against(got, rule, parsed, len(ways) == 1)
			if wrong == "" {
				wrong = traced.amongst(ways, list)
			}
			if wrong != "" {
				t.Fatalf("seed %d: %s\nframe %s\ncompiled: %s by %+v\n%s\n%s", seed, wrong, f, got, rule, show(parsed), text)
			}
		}
	}
	t.Logf("%d tables, %d frames from seed %d: %d normal, %d dropped, %d passed, of which OVS forwards by NORMAL or drops %d; of %d rules or fields leave several ways open",
		*tables, count.frames, *seed, verdicts[rules.Normal], verdicts[rules.Drop], verdicts[rules.Pass], count.left, count.ambiguous)
	if *tables < 50 {
		return // few tables may be all alike
	}
	for _, v := range []rules.Verdict{rules.Normal, rules.Drop} {
		if verdicts[v] < count.frames/8 {
			t.Errorf("only %d of %d frames: %s", verdicts[v], count.frames, v)
		}
	}
}

// install replaces the rules of br0, and reads them back as the daemon does.
// Their cookies are their places in the list, from 1 on.
func install(l *lab.Lab, list []rulestest.Rule) ([]ovs.Rule, error) {
	var b strings.Builder
	for i := range list {
		list[i].Cookie = i + 1
		fmt.Fprintln(&b, list[i])
	}
	path := filepath.Join(l.Dir, "rules")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	if _, err := l.Ofctl("-O", "OpenFlow13", "replace-flows", "br0", path); err != nil {
		return nil, err
	}
	client := ofctl.Client{Rundir: l.RunDir}
	return client.Rules(context.Background(), "br0")
}

func show(list []ovs.Rule) string {
	var b strings.Builder
	for i := range list {
		fmt.Fprintf(&b, "%2d cookie=%#x %s\n", i, list[i].Cookie, &list[i])
	}
	return b.String()
}

// traced is how ofproto/trace followed a frame through the tables.
type traced struct {
	// cookies are those of the rules hit, in order.
	cookies []uint64
	// actions are all actions of these, but for those that go on in a table.
	actions []string
	// verdict is Normal or Drop when nothing but that was done, and by a rule.
	verdict rules.Verdict
}

var (
	// hitLine is " 0. tcp,tp_dst=80, priority 10, cookie 0x1" or " 1. No match.".
	hitLine    = regexp.MustCompile(`^ *\d+\. (.*)$`)
	cookieText = regexp.MustCompile(`, cookie 0x([0-9a-f]+)$|^priority \d+, cookie 0x([0-9a-f]+)$`)
	goesOnLine = regexp.MustCompile(`^(resubmit\(,\d+\)|goto_table:\d+)$`)
)

// readTraced reads the text of ofproto/trace.
func readTraced(text string) traced {
	var t traced
	missed, following := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch hit := hitLine.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "bridge("):
			following = true
		case strings.HasPrefix(line, "Final flow:"):
			following = false
		case !following:
		case hit != nil:
			missed = missed || hit[1] == "No match."
			if c := cookieText.FindStringSubmatch(hit[1]); c != nil {
				n, _ := strconv.ParseUint(c[1]+c[2], 16, 64)
				t.cookies = append(t.cookies, n)
			}
		default:
			action := strings.TrimSpace(line)
			// What an action does is told by "-> learned port is …" and ">> …".
			if action != "" && !strings.HasPrefix(action, "-") && !strings.HasPrefix(action, ">") && !goesOnLine.MatchString(action) {
				t.actions = append(t.actions, action)
			}
		}
	}
	failed := strings.Contains(text, "Translation failed")
	switch {
	case missed || failed:
	case slices.Equal(t.actions, []string{"NORMAL"}):
		t.verdict = rules.Normal
	case slices.Equal(t.actions, []string{"drop"}) && strings.Contains(text, "Datapath actions: drop"):
		t.verdict = rules.Drop
	}
	return t
}

// against says in what a compiled verdict differs from what OVS does, and by
// which rules where that is certain.
func (t traced) against(got rules.Verdict, rule *rules.Rule, parsed []ovs.Rule, certain bool) string {
	if got == rules.Pass {
		return ""
	}
	if got != t.verdict {
		return fmt.Sprintf("compiled %s, but OVS does %q", got, t.actions)
	}
	var cookies []uint64
	for _, o := range rule.Origins {
		cookies = append(cookies, parsed[o].Cookie)
	}
	if certain && !slices.Equal(cookies, t.cookies) {
		return fmt.Sprintf("the origins have the cookies %d, but OVS hits %d", cookies, t.cookies)
	}
	return ""
}

// amongst tells that what OVS does is none of the ways that the tests of
// sync/plan/rules compare with; "" when it is.
func (t traced) amongst(ways []rulestest.Way, list []rulestest.Rule) string {
	for _, w := range ways {
		var cookies []uint64
		for _, i := range w.Rules {
			cookies = append(cookies, uint64(list[i].Cookie))
		}
		if w.Verdict == t.verdict && (t.verdict == rules.Pass || slices.Equal(cookies, t.cookies)) {
			return ""
		}
	}
	return fmt.Sprintf("OVS hits the cookies %d and does %q, which is none of the ways %+v", t.cookies, t.actions, ways)
}
