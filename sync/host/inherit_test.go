// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"strings"
	"testing"
)

// passOn hands over what one process holds, as it goes over the control socket.
func passOn(t *testing.T, from, to *keeper) {
	t.Helper()
	b, err := json.Marshal((&Host{keeper: from}).Held())
	if err != nil {
		t.Fatal(err)
	}
	var held Holds
	if err := json.Unmarshal(b, &held); err != nil {
		t.Fatal(err)
	}
	(&Host{keeper: to}).Inherit(held)
}

// What one process has turned off, another takes over: it stays off, and each of
// them restores it as long as it is its own.
func TestInherit(t *testing.T) {
	tool := newTool(t)
	on := strings.Join(toggled, " ")
	up0, up1 := uplink(t, "up0"), uplink(t, "up1")
	old, heir := newKeeper(tool), newKeeper(tool)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(old.turnOff(up0, toggled))
	must(old.turnOff(up1, toggled[:1]))
	passOn(t, old, heir)
	if !heir.holds(up0) || !heir.holds(up1) {
		t.Error("the heir does not know what is held")
	}
	// An heir that ends now leaves all to the old one, with and without a
	// restorer of its own.
	must(heir.close())
	wantOn(t, tool, "up0")
	must(heir.turnOff(up1, toggled))
	must(heir.close())
	wantOn(t, tool, "up0")
	wantOn(t, tool, "up1", toggled[1])

	passOn(t, old, heir)
	must(heir.own())
	if n := len(restorers(t)); n != 2 {
		t.Errorf("%d restorers, want 2: neither has left yet", n)
	}
	must(old.leave())
	if now := restorers(t); len(now) != 1 || old.holds(up0) {
		t.Errorf("restorers %v after the old one has left; it holds: %v", now, old.holds(up0))
	}
	wantOn(t, tool, "up0")
	must(old.close()) // nothing is left to it
	wantOn(t, tool, "up0")
	wantOn(t, tool, "up1", toggled[1])

	// A port leaves the lane, and the heir ends as by SIGKILL.
	must(heir.restore(up1))
	wantOn(t, tool, "up1", toggled...)
	_ = heir.restorer.pipe.Close()
	heir.held = nil
	eventually(t, "the heir's restorer restores", func() bool { return isOn(t, tool, "up0") == on })
	noRestorer(t)
}

// While both have what is held, a port may leave the lane.
func TestInheritAndRestore(t *testing.T) {
	tool := newTool(t)
	up0 := uplink(t, "up0")
	old, heir := newKeeper(tool), newKeeper(tool)
	if err := old.turnOff(up0, toggled); err != nil {
		t.Fatal(err)
	}
	passOn(t, old, heir)
	if err := heir.restore(up0); err != nil {
		t.Fatal(err)
	}
	wantOn(t, tool, "up0", toggled...)
	if err := heir.own(); err != nil || heir.holds(up0) || heir.restorer != nil {
		t.Errorf("own: %v; it holds: %v", err, heir.holds(up0))
	}
	if err := old.leave(); err != nil {
		t.Error(err)
	}
	noRestorer(t)
}
