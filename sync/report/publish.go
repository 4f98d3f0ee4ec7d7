// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
)

const (
	// publishInterval is how often the status is written at most, and
	// publishAnyway how often it is though nothing has changed, so that a reader
	// knows that it is not old.
	publishInterval = 30 * time.Second
	publishAnyway   = 5 * time.Minute
)

// Published returns what Publish writes into external_ids of each bridge that asks
// for the lane, by Bridge:name: "xdp-status" is its state, of a refused one with the
// first reason, or "closed" when the lane is; "xdp-status-share" the percentage of
// its frames on the lane (in observe mode: that would be); "xdp-status-lost" how
// many frames were lost after a redirect; "xdp-status-version" that of the daemon.
func (s Status) Published() map[string]map[string]string {
	all := make(map[string]map[string]string)
	for _, b := range s.Bridges {
		if b.Mode == "off" && len(b.Errors) == 0 {
			continue
		}
		state := b.State
		switch {
		case len(b.Errors) > 0:
			state = "off: bad-key"
		case s.Lane != "open":
			state = "closed"
		case state == "refused" && len(b.Refusals) > 0:
			state += ": " + b.Refusals[0].Reason
		}
		keys := map[string]string{"xdp-status": state, "xdp-status-version": s.Version, "xdp-status-lost": fmt.Sprint(b.Lost)}
		total, _ := b.Frames.Total()
		if on := b.Frames.Lane + b.Frames.Would; total > 0 {
			keys["xdp-status-share"] = fmt.Sprint(100 * on / total)
		}
		all[b.Name] = keys
	}
	return all
}

// Publish writes the status into the database until ctx ends, and removes it then,
// unless another daemon has taken over.
func (r Reporter) Publish(ctx context.Context, log *slog.Logger) {
	written := make(map[string]map[string]string)
	var at time.Time
	failing := false
	write := func(ctx context.Context, keys map[string]map[string]string) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := ovsdb.Publish(ctx, r.Rundir, keys)
		if err != nil && !failing {
			log.Warn("the status can't be published", "error", err)
		}
		failing = err != nil
	}
	step := func() {
		now := r.Status().Published()
		if r.Daemon.Left() || same(now, written) && time.Since(at) < publishAnyway {
			return
		}
		at = time.Now()
		keys := make(map[string]map[string]string)
		for name := range written {
			keys[name] = nil // of bridges that ask no more
		}
		for name, k := range now {
			keys[name] = maps.Clone(k)
			keys[name]["xdp-status-at"] = at.UTC().Format(time.RFC3339)
		}
		if write(ctx, keys); !failing {
			written = now
		}
	}
	// The first comes soon, when bridges have been looked at.
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			step()
			timer.Reset(publishInterval)
		case <-ctx.Done():
			if !r.Daemon.Left() {
				gone := make(map[string]map[string]string)
				for name := range written {
					gone[name] = nil
				}
				write(context.WithoutCancel(ctx), gone)
			}
			return
		}
	}
}

func same(a, b map[string]map[string]string) bool {
	return maps.EqualFunc(a, b, maps.Equal[map[string]string, map[string]string])
}
