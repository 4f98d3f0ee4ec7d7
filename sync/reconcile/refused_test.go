// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// A device that was taken by another program just when ours was to be attached
// is free again as soon as that has gone.
func TestRefusedDevice(t *testing.T) {
	now := time.Now()
	busy := refusedDevice{name: "v1", err: fmt.Errorf("attach: %w", unix.EBUSY), at: now}
	other := refusedDevice{name: "v1", err: errors.New("out of memory"), at: now}
	for name, c := range map[string]struct {
		refused refusedDevice
		link    plan.Link
		after   time.Duration
		want    bool
	}{
		"busy, the other program is seen": {busy, plan.Link{IfIndex: 3, OtherXDP: "x"}, 0, false},
		"busy, no other program is seen":  {busy, plan.Link{IfIndex: 3}, 0, true},
		"refused for another reason":      {other, plan.Link{IfIndex: 3, OtherXDP: "x"}, 0, true},
		"refused long ago":                {other, plan.Link{IfIndex: 3}, retryAttach + 1, false},
		"another device of that name":     {other, plan.Link{IfIndex: 4}, 0, false},
		"gone, and nothing has its name":  {other, plan.Link{}, 0, false},
	} {
		if got := c.refused.stands(3, c.link, now.Add(c.after)); got != c.want {
			t.Errorf("%s: stands %v, want %v", name, got, c.want)
		}
	}
}
