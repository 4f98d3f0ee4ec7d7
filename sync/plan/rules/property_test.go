// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules/rulestest"
)

func parse(t testing.TB, list []rulestest.Rule) []ovs.Rule {
	t.Helper()
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintln(&b, r)
	}
	parsed, err := flow.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// describe prints what a failure is about.
func describe(list []rulestest.Rule, f rulestest.Frame, ways []rulestest.Way, got rules.Verdict, rule *rules.Rule) string {
	var b strings.Builder
	for i, r := range list {
		fmt.Fprintf(&b, "%2d %s\n", i, r)
	}
	return fmt.Sprintf("%sframe %s\nways %+v\ngot %s by %+v", &b, f, ways, got, rule)
}

// sound says why a verdict is wrong, "" when it is not: it must hold whichever
// way OVS goes.
func sound(ways []rulestest.Way, got rules.Verdict) string {
	for _, w := range ways {
		if got != rules.Pass && got != w.Verdict || got == rules.Normal && w.Hard {
			return fmt.Sprintf("%s, although OVS may do %s", got, w.Verdict)
		}
	}
	return ""
}

// exact says why a verdict is not the best one there is, "" when it is: for what
// has one way, or several in one table by rules that do the same.
func exact(ways []rulestest.Way, got rules.Verdict, rule *rules.Rule) string {
	want, same := ways[0], true
	for _, w := range ways {
		same = same && len(w.Rules) == 1 && w.Verdict == want.Verdict && w.Idle == want.Idle && w.Hard == want.Hard
	}
	if want.Verdict == rules.Normal && want.Hard {
		want.Verdict = rules.Pass
	}
	if (len(ways) == 1 || same) && got != want.Verdict {
		return fmt.Sprintf("%s, want %s", got, want.Verdict)
	}
	if got == rules.Pass {
		return ""
	}
	i := slices.IndexFunc(ways, func(w rulestest.Way) bool { return slices.Equal(rule.Origins, w.Rules) })
	if i < 0 {
		return fmt.Sprintf("origins %v are of none of the ways", rule.Origins)
	}
	if idle := time.Duration(ways[i].Idle) * time.Second; rule.Idle != idle {
		return fmt.Sprintf("idle %v, want %v", rule.Idle, idle)
	}
	return ""
}

// TestAgainstPlainReading compares compiled tables with a reading of OpenFlow that
// knows no lists.
func TestAgainstPlainReading(t *testing.T) {
	const tables, frames = 3000, 40
	var verdicts [3]int
	several := 0
	for seed := range uint64(tables) {
		g := rulestest.New(seed)
		known := seed%2 == 0
		list := g.Rules(12, known)
		parsed := parse(t, list)
		table := rules.Compile(parsed)
		if wrong := wellFormed(&table, len(list)); wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
		for range frames {
			f := g.Frame(list)
			ways := rulestest.Ways(list, &f)
			got, rule := table.Decide(f.Port, f.Fields)
			verdicts[got]++
			wrong := sound(ways, got)
			if len(ways) > 1 {
				several++
			}
			if known && wrong == "" {
				wrong = exact(ways, got, rule)
			}
			if wrong != "" {
				t.Fatalf("seed %d: %s\n%s", seed, wrong, describe(list, f, ways, got, rule))
			}
		}
	}
	t.Logf("%d frames: %d passed, %d normal, %d dropped; %d have several ways", tables*frames, verdicts[rules.Pass], verdicts[rules.Normal], verdicts[rules.Drop], several)
	for v, n := range verdicts {
		if n < tables*frames/10 {
			t.Errorf("only %d of %d frames: %s", n, tables*frames, rules.Verdict(v))
		}
	}
}

// wellFormed says in what a Table breaks its contract.
func wellFormed(t *rules.Table, origins int) string {
	seen := map[uint32]bool{}
	list := func(name string, list []rules.Rule) string {
		for i := range list {
			r := &list[i]
			if i > 0 && list[i-1].Order >= r.Order || seen[r.Order] {
				return fmt.Sprintf("%s: rule %d is not in order", name, i)
			}
			seen[r.Order] = true
			v, all := r.Match.Value, rules.Match{Value: r.Match.Value, Mask: r.Match.Mask}
			if !all.Matches(v) {
				return fmt.Sprintf("%s: rule %d does not match its own value", name, i)
			}
			if more := (rules.Match{Value: v, Mask: v}); !more.Matches(r.Match.Value) || !within(v, r.Match.Mask) {
				return fmt.Sprintf("%s: rule %d has bits outside its mask", name, i)
			}
			for _, o := range r.Origins {
				if o < 0 || o >= origins {
					return fmt.Sprintf("%s: rule %d has the origin %d", name, i, o)
				}
			}
		}
		return ""
	}
	wrong := []string{list("General", t.General)}
	for port, rules := range t.ByPort {
		wrong = append(wrong, list(fmt.Sprint("port ", port), rules))
	}
	for dst, rules := range t.ByDst {
		wrong = append(wrong, list(dst.String(), rules))
		for i := range rules {
			if m := &rules[i].Match; m.Value.Dst != dst || m.Mask.Dst != (ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
				wrong = append(wrong, fmt.Sprintf("%s: rule %d is of another destination", dst, i))
			}
		}
	}
	for _, w := range wrong {
		if w != "" {
			return w
		}
	}
	if t.Plain() && !t.Offloads() {
		return "plain, and does not offload"
	}
	return ""
}

// within tells that no field of v has a bit that m has not.
func within(v, m rules.Fields) bool {
	bytes := func(v, m []byte) bool {
		for i := range v {
			if v[i]&^m[i] != 0 {
				return false
			}
		}
		return true
	}
	return bytes(v.Dst[:], m.Dst[:]) && bytes(v.Src[:], m.Src[:]) && bytes(v.IPSrc[:], m.IPSrc[:]) && bytes(v.IPDst[:], m.IPDst[:]) &&
		v.EtherType&^m.EtherType == 0 && v.TCI&^m.TCI == 0 && v.Proto&^m.Proto == 0 && v.TOS&^m.TOS == 0 && v.TTL&^m.TTL == 0 &&
		v.Frag&^m.Frag == 0 && v.TPSrc&^m.TPSrc == 0 && v.TPDst&^m.TPDst == 0 && v.TCPFlags&^m.TCPFlags == 0
}

// TestOrderOfInput: the order of what is compiled makes no difference but to what
// its rules are called.
func TestOrderOfInput(t *testing.T) {
	for seed := range uint64(500) {
		g := rulestest.New(seed)
		parsed := parse(t, g.Rules(20, seed%2 == 0))
		table := rules.Compile(parsed)
		order := rand.New(rand.NewPCG(seed, 1)).Perm(len(parsed))
		mixed := make([]ovs.Rule, len(parsed))
		for to, from := range order {
			mixed[to] = parsed[from]
		}
		other := rules.Compile(mixed)
		back := func(list []rules.Rule) {
			for i := range list {
				for j, o := range list[i].Origins {
					list[i].Origins[j] = order[o]
				}
			}
		}
		back(other.General)
		for _, list := range other.ByPort {
			back(list)
		}
		for _, list := range other.ByDst {
			back(list)
		}
		if diff := cmp.Diff(table, other); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}
