// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	start := time.Now()
	b, now := budget{}, start
	if free := b.free(); free.After(now) {
		t.Errorf("the first look waits for %v", free.Sub(now))
	}
	const cost = 20 * time.Millisecond
	atOnce, spent := 0, time.Duration(0)
	for now.Sub(start) < time.Minute { // a flood: as many looks as may be
		if free := b.free(); free.After(now) {
			now = free
		} else {
			atOnce++
		}
		now, spent = now.Add(cost), spent+cost
		b.spend(cost, now)
	}
	if share := spent.Seconds() / now.Sub(start).Seconds(); share > 0.21 || share < 0.19 {
		t.Errorf("looks take %.2f of the time", share)
	}
	if atOnce < 10 || atOnce > 20 {
		t.Errorf("%d looks at once", atOnce)
	}
	b.spend(10*time.Second, now) // one look, on a machine that is busy
	if wait := b.free().Sub(now); wait != 5*time.Second {
		t.Errorf("a wait of %v", wait)
	}
}
