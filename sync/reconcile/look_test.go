// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"slices"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// The lane is not kept open beside a look that never ends.
func TestStuckLook(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		looks looks
		stuck bool
	}{
		{looks{}, false},
		{looks{looking: true, began: now.Add(-lease)}, false},
		{looks{looking: true, began: now.Add(-lease - time.Millisecond)}, true},
		{looks{looking: false, began: now.Add(-time.Hour)}, false},
	} {
		if err := c.looks.stuck(now); (err != nil) != c.stuck {
			t.Errorf("looking %v since %v: error %v, want one: %v", c.looks.looking, now.Sub(c.looks.began), err, c.stuck)
		}
	}
}

// What changes while it is read is left out of a picture, and read again ever
// later.
func TestChurn(t *testing.T) {
	var l looks
	var pauses []time.Duration
	for n := range 13 {
		pauses = append(pauses, l.churnPause())
		l.churn = map[string]bool{"br1": true}
		p := picture{snap: &ovs.Snapshot{Bridges: []ovs.Bridge{{Name: "br0", Detail: &ovs.Detail{}}, {Name: "br1", Detail: &ovs.Detail{}}}}}
		if whole := l.leaveChurn(&p); whole == (n == 0) {
			t.Fatalf("look %d counts: %v", n, whole)
		} else if !whole {
			continue
		}
		p.unwatch()
		if b := p.snap.Bridges; b[0].Detail == nil || b[1].Detail != nil || b[1].DetailError != errChurn.Error() {
			t.Fatalf("%+v", b)
		}
	}
	if !slices.IsSorted(pauses) || pauses[1] != 0 || pauses[12] != maxBackoff {
		t.Errorf("pauses %v", pauses)
	}
	l.churn = nil
	if !l.leaveChurn(&picture{}) || l.churnPause() != 0 {
		t.Errorf("a pause of %v after a quiet look", l.churnPause())
	}
}
