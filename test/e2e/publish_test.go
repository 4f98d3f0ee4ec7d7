// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// published returns what the daemon has written into external_ids of a bridge.
func (w *world) published(key string) string {
	w.t.Helper()
	out, err := w.OVS("--if-exists", "get", "bridge", "br0", "external_ids:"+key)
	w.must(err)
	return strings.Trim(strings.TrimSpace(out), `"`)
}

// The status is in the database while the daemon runs, survives a takeover and goes
// with the last daemon; writing it makes nobody look at OVS.
func TestPublishStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--publish-status")
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.set("external_ids:mine=stays")
	w.mode("on")
	w.eventually(func() error {
		if got := w.published("xdp-status"); got != "on" {
			return fmt.Errorf("xdp-status is %q", got)
		}
		return nil
	})
	for _, key := range []string{"xdp-status-at", "xdp-status-version", "xdp-status-lost"} {
		if w.published(key) == "" {
			t.Errorf("no %s", key)
		}
	}
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)

	// A change of these keys alone is nothing to look at; any other is.
	looks := func() uint64 { return ask[map[string]uint64](w, "coverage/show")["looks"] }
	time.Sleep(time.Second)
	before := looks()
	for i := range 20 {
		w.set(fmt.Sprintf("external_ids:xdp-status-at=%d", i))
	}
	if n := looks() - before; n > 5 {
		t.Errorf("%d looks at OVS for 20 changes of what was published", n)
	}
	before = looks()
	w.set("external_ids:mine=changed")
	w.eventually(func() error {
		if looks() == before {
			return fmt.Errorf("no look at OVS for a change of another key")
		}
		return nil
	})
	w.takeOver(w.bpffs(), "--publish-status")
	if got := w.published("xdp-status"); got != "on" {
		t.Errorf("after a takeover xdp-status is %q", got)
	}
	w.eventually(func() error { // the new one has written
		if got := w.published("xdp-status-at"); !strings.Contains(got, "T") {
			return fmt.Errorf("xdp-status-at is %q", got)
		}
		return nil
	})
	w.stop()
	for _, key := range []string{"xdp-status", "xdp-status-at", "xdp-status-share", "xdp-status-lost", "xdp-status-version"} {
		if got := w.published(key); got != "" {
			t.Errorf("%s is %q after the daemon's end", key, got)
		}
	}
	if got := w.published("mine"); got != "changed" {
		t.Errorf("somebody else's key is %q", got)
	}
	if got := w.published("xdp-offload"); got != "on" {
		t.Errorf("xdp-offload is %q", got)
	}
}
