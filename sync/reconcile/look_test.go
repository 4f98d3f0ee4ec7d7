// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"
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
