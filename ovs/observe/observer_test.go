// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// fake is an Open vSwitch in memory: it shows what Observer does with answers,
// not what a real one answers.
type fake struct {
	mu       sync.Mutex
	bridges  map[string]map[string]string // external_ids by bridge name
	rows     map[string]ovs.Bridge        // overrides what bridges gives
	torn     int                          // this many Reads are torn
	readErr  error
	onRead   func(n int) // n counts from 1
	reads    int
	calls    map[string]int // by "method bridge"
	failures map[string]error
	hidden   map[string]int
	learned  int // of each bridge, in all; 0: it does not tell
	asking   int
	most     int // most asked at once
	onAsk    func()
}

func newFake(names ...string) *fake {
	f := &fake{
		bridges: map[string]map[string]string{}, rows: map[string]ovs.Bridge{}, calls: map[string]int{},
		failures: map[string]error{}, hidden: map[string]int{},
	}
	for _, n := range names {
		f.bridges[n] = map[string]string{}
	}
	return f
}

func (f *fake) Read() (*ovs.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.onRead != nil {
		f.onRead(f.reads)
	}
	if f.torn > 0 {
		f.torn--
		return nil, fmt.Errorf("fake: %w", ovsdb.ErrTorn)
	}
	if f.readErr != nil {
		return nil, f.readErr
	}
	snap := &ovs.Snapshot{}
	for _, name := range slices.Sorted(maps.Keys(f.bridges)) {
		b := f.rows[name]
		b.UUID, b.Name, b.ExternalIDs = "uuid-"+name, name, maps.Clone(f.bridges[name])
		snap.Bridges = append(snap.Bridges, b)
	}
	return snap, nil
}

func (f *fake) called(what, bridge string) error {
	f.mu.Lock()
	f.calls[what+" "+bridge]++
	f.asking++
	f.most = max(f.most, f.asking)
	err, onAsk := f.failures[what+" "+bridge], f.onAsk
	f.mu.Unlock()
	if onAsk != nil {
		onAsk()
	}
	f.mu.Lock()
	f.asking--
	f.mu.Unlock()
	return err
}

func (f *fake) Call(_ context.Context, method string, args ...string) (string, error) {
	if err := f.called(method, args[0]); err != nil {
		return "", err
	}
	switch method {
	case "fdb/stats-show":
		if f.learned > 0 {
			return fmt.Sprintf("Statistics for bridge \"%s\":\n  Current/maximum MAC entries in the table: 1/8192\n"+
				"  Total number of learned MAC entries     : %d\n  Total number of expired MAC entries     : 0\n"+
				"  Total number of evicted MAC entries     : 0\n  Total number of port moved MAC entries  : 0\n", args[0], f.learned), nil
		}
	case "fdb/show":
		return " port  VLAN  MAC                Age\n   99    10  52:54:00:00:00:01    3\n", nil
	case "bridge/dump-flows":
		return strings.Repeat("duration=1s, n_packets=0, n_bytes=0, priority=15790320,actions=NORMAL\n", f.hidden[args[0]]) +
			"duration=1s, n_packets=0, n_bytes=0, priority=65535,ip,actions=NORMAL\n" +
			"duration=1s, n_packets=0, n_bytes=0, ,actions=NORMAL\n" +
			"table_id=254, duration=1s, n_packets=0, n_bytes=0, priority=2,recirc_id=0,actions=drop\n", nil
	}
	return "", &unixctl.CommandError{Method: method, Text: "not a valid command"}
}

func (f *fake) Rules(_ context.Context, bridge string) ([]ovs.Rule, error) {
	return []ovs.Rule{{Actions: []string{"NORMAL"}}}, f.called("Rules", bridge)
}

func (f *fake) PortConfig(_ context.Context, bridge string) (map[uint32]ovs.PortConfig, error) {
	return map[uint32]ovs.PortConfig{1: {NoFwd: true}}, f.called("PortConfig", bridge)
}

func (f *fake) FragMode(_ context.Context, bridge string) (string, error) {
	return "normal", f.called("FragMode", bridge)
}

// watch returns an Observer of the fake that keeps OpenFlow parts at once.
func (f *fake) watch() *Observer {
	o := New(Config{Database: f, Control: f, OpenFlow: f})
	o.settle = 0
	return o
}

func look(t *testing.T, o *Observer) map[string]ovs.Bridge {
	t.Helper()
	snap, err := o.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bs := map[string]ovs.Bridge{}
	for _, b := range snap.Bridges {
		bs[b.Name] = b
	}
	return bs
}

func TestLookFillsDetail(t *testing.T) {
	f := newFake("a", "b")
	f.hidden["a"] = 2
	o := New(Config{Database: f, Control: f, OpenFlow: f, Want: func(b *ovs.Bridge) bool { return b.Name == "a" }})
	bs := look(t, o)
	want := &ovs.Detail{
		Rules: []ovs.Rule{{Actions: []string{"NORMAL"}}}, HiddenRules: 2, FragMode: "normal",
		PortConfig: map[uint32]ovs.PortConfig{1: {NoFwd: true}},
		// No interface has number 99: the row is kept all the same.
		FDB: []ovs.FDBEntry{{OFPort: 99, VLAN: 10, MAC: ovs.MAC{0x52, 0x54, 0, 0, 0, 1}, Age: 3}},
	}
	if diff := cmp.Diff(want, bs["a"].Detail); diff != "" {
		t.Errorf("a (-want +got):\n%s", diff)
	}
	if b := bs["b"]; b.Detail != nil || b.DetailError != "" {
		t.Errorf("b was not asked for: %+v", b)
	}
	if f.calls["fdb/show b"] != 0 {
		t.Error("b was asked about")
	}
}

func TestLookRetriesTorn(t *testing.T) {
	f := newFake("a")
	f.torn = tornAttempts - 1
	look(t, f.watch())
	f.torn = 1000
	if _, err := f.watch().Look(t.Context()); !errors.Is(err, ovsdb.ErrTorn) {
		t.Errorf("Look on a database that stays torn: %v", err)
	}
}

func TestLookDatabaseError(t *testing.T) {
	f := newFake("a")
	f.readErr = errors.New("gone")
	if _, err := f.watch().Look(t.Context()); !errors.Is(err, f.readErr) {
		t.Errorf("Look: %v", err)
	}
	f.readErr = nil
	f.onRead = func(n int) { // after the details
		if n == 3 {
			f.readErr = errors.New("gone")
		}
	}
	if snap, err := f.watch().Look(t.Context()); err == nil {
		t.Errorf("Look succeeded: %+v", snap)
	}
}

func TestLookStartsOverAfterChange(t *testing.T) {
	f := newFake("a", "b")
	f.onRead = func(n int) {
		switch n {
		case 2:
			f.bridges["a"]["key"] = "value"
		case 3:
			delete(f.bridges, "b")
		}
	}
	bs := look(t, f.watch())
	if f.reads != 4 {
		t.Errorf("%d reads, want 4", f.reads)
	}
	if a := bs["a"]; a.ExternalIDs["key"] != "value" || a.Detail == nil {
		t.Errorf("a: %+v", a)
	}
	if _, ok := bs["b"]; ok {
		t.Error("b is still there")
	}
	// What was read of a's OpenFlow part before the change is not used.
	if n := f.calls["Rules a"]; n != 2 {
		t.Errorf("rules of a read %d times, want 2", n)
	}

	f = newFake("a")
	f.onRead = func(n int) { f.bridges["a"]["n"] = fmt.Sprint(n) }
	if _, err := f.watch().Look(t.Context()); err == nil {
		t.Error("Look succeeded on a bridge that never stands still")
	}

	// What happens to a bridge that nobody wants is not awaited.
	f = newFake("a", "b")
	f.onRead = func(n int) { f.bridges["b"]["n"] = fmt.Sprint(n) }
	o := New(Config{Database: f, Control: f, OpenFlow: f, Want: func(b *ovs.Bridge) bool { return b.Name == "a" }})
	if bs := look(t, o); f.reads != 2 || bs["b"].ExternalIDs["n"] != "2" {
		t.Errorf("%d reads, bridges %+v", f.reads, bs)
	}
}

func TestLookPartialFailure(t *testing.T) {
	for _, what := range []string{"Rules", "PortConfig", "FragMode"} {
		f := newFake("a", "b")
		f.failures[what+" a"] = errors.New("ovs-ofctl failed")
		bs := look(t, f.watch())
		if a := bs["a"]; a.Detail != nil || !strings.Contains(a.DetailError, "ovs-ofctl failed") {
			t.Errorf("%s: a: %+v", what, a)
		}
		if b := bs["b"]; b.Detail == nil || b.DetailError != "" {
			t.Errorf("%s: b: %+v", what, b)
		}
	}
	for _, what := range []string{"fdb/show", "bridge/dump-flows"} {
		f := newFake("a", "b")
		f.failures[what+" a"] = fmt.Errorf("call: %w", &unixctl.CommandError{Method: what, Text: "no such bridge"})
		o := f.watch()
		bs := look(t, o)
		if a := bs["a"]; a.Detail != nil || !strings.Contains(a.DetailError, "no such bridge") {
			t.Errorf("%s: a: %+v", what, a)
		}
		if b := bs["b"]; b.Detail == nil || b.DetailError != "" {
			t.Errorf("%s: b: %+v", what, b)
		}
		delete(f.failures, what+" a")
		if a := look(t, o)["a"]; a.Detail == nil || a.DetailError != "" {
			t.Errorf("%s: a afterwards: %+v", what, a)
		}
		f.failures[what+" a"] = errors.New("connection refused")
		o.ForgetAll()
		if snap, err := o.Look(t.Context()); !errors.Is(err, f.failures[what+" a"]) {
			t.Errorf("%s: a broken control socket: %v, %v", what, snap, err)
		}
	}
}

func TestLookEndsWithContext(t *testing.T) {
	f := newFake("a")
	ctx, cancel := context.WithCancel(t.Context())
	f.onAsk = cancel
	if _, err := f.watch().Look(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Look: %v", err)
	}
}

func TestOpenFlowIsKept(t *testing.T) {
	f := newFake("a", "b")
	o := f.watch()
	counts := func(want ...int) {
		t.Helper()
		look(t, o)
		for _, what := range []string{"Rules", "PortConfig", "bridge/dump-flows"} {
			if got := []int{f.calls[what+" a"], f.calls[what+" b"]}; !slices.Equal(got, want) {
				t.Errorf("%s of a, b: asked %v times, want %v", what, got, want)
			}
		}
	}
	counts(1, 1)
	counts(1, 1)
	if n := f.calls["fdb/show a"]; n != 2 {
		t.Errorf("MAC table read %d times in 2 Looks", n)
	}
	o.Forget("a")
	counts(2, 1)
	counts(2, 1)
	o.Forget("nobody")
	counts(2, 1)
	o.ForgetAll()
	counts(3, 2)
	frags := func() []int { return []int{f.calls["FragMode a"], f.calls["FragMode b"]} }
	if got := frags(); !slices.Equal(got, []int{3, 2}) {
		t.Errorf("FragMode of a, b: asked %v times, want 3 and 2", got)
	}
	// A change in the database, which does not touch how fragments are treated.
	f.bridges["b"]["key"] = "value"
	counts(3, 3)
	if got := frags(); !slices.Equal(got, []int{3, 2}) {
		t.Errorf("FragMode of a, b: asked %v times, want still 3 and 2", got)
	}
	// A bridge of the same identity that comes back.
	was := f.bridges["b"]
	delete(f.bridges, "b")
	counts(3, 3)
	f.bridges["b"] = was
	counts(3, 4)
}

// What a Look has read before Forget was called must not be kept.
func TestForgetDuringLook(t *testing.T) {
	f := newFake("a")
	o := f.watch()
	f.onAsk = func() { o.Forget("a") }
	look(t, o)
	f.onAsk = nil
	look(t, o)
	look(t, o)
	if n := f.calls["Rules a"]; n != 2 {
		t.Errorf("rules read %d times, want 2", n)
	}
}

// Shortly after a change in the database ovs-vswitchd may not have done what
// it says yet.
func TestOpenFlowIsNotKeptTooEarly(t *testing.T) {
	f := newFake("a")
	o := f.watch()
	o.settle = 50 * time.Millisecond
	look(t, o)
	look(t, o)
	if n := f.calls["Rules a"]; n != 2 {
		t.Errorf("rules read %d times at once after the bridge was seen, want 2", n)
	}
	time.Sleep(o.settle)
	look(t, o)
	look(t, o)
	if n := f.calls["Rules a"]; n != 3 {
		t.Errorf("rules read %d times, want 3", n)
	}
}

func TestHiddenRulesOfFailOpenBridge(t *testing.T) {
	f := newFake("a")
	f.rows["a"] = ovs.Bridge{FailMode: "standalone", Controllers: []ovs.Controller{{Target: "tcp:192.0.2.1"}}}
	o := f.watch()
	for _, n := range []int{0, 1, 0} {
		f.hidden["a"] = n
		if got := look(t, o)["a"].Detail.HiddenRules; got != n {
			t.Errorf("%d hidden rules, want %d", got, n)
		}
	}
	if n := f.calls["Rules a"]; n != 1 {
		t.Errorf("rules read %d times, want 1", n)
	}
}

func TestLookAsksSomeAtATime(t *testing.T) {
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("br", i))
	}
	f := newFake(names...)
	f.onAsk = func() { time.Sleep(time.Millisecond) }
	look(t, f.watch())
	if f.most > concurrency || f.most < 2 {
		t.Errorf("%d bridges asked at once, want 2 to %d", f.most, concurrency)
	}
}

// The MAC table is read again when its totals say so, when the bridge has changed in
// the database, and when it is old.
func TestLookKeepsTable(t *testing.T) {
	f := newFake("a")
	o := f.watch()
	reads := func(what string, want int) {
		t.Helper()
		before := f.calls["fdb/show a"]
		if rows := look(t, o)["a"].Detail.FDB; len(rows) != 1 {
			t.Errorf("%s: rows %v", what, rows)
		}
		if n := f.calls["fdb/show a"] - before; n != want {
			t.Errorf("%s: the table was read %d times, want %d", what, n, want)
		}
	}
	reads("first", 1)
	reads("no totals", 1)
	f.learned = 1
	reads("totals", 1)
	reads("the same totals", 0)
	o.ForgetAll()
	reads("the OpenFlow part forgotten", 0)
	f.learned = 2
	reads("a station learned", 1)
	reads("nothing since", 0)
	f.bridges["a"]["x"] = "1"
	o.settle = time.Hour
	reads("changed in the database", 1)
	reads("changed a moment ago", 1)
	o.settle = 0
	reads("stands still", 1)
	reads("still", 0)
	o.lasts = 0
	reads("old", 1)
	o.lasts = time.Hour
	reads("young", 0)
	f.failures["fdb/stats-show a"] = &unixctl.CommandError{Method: "fdb/stats-show", Text: "not a valid command"}
	reads("no totals again", 1)
}
