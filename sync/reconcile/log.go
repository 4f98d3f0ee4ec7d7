// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"log/slog"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// logChanges tells what is new in a plan: states of bridges, ports that join
// or leave, refusals.
func logChanges(log *slog.Logger, old, now plan.Result) {
	states := make(map[string]plan.Bridge)
	for _, b := range old.Bridges {
		states[b.Name] = b
	}
	for _, b := range now.Bridges {
		was, known := states[b.Name]
		if b.State != was.State && (known || b.State != plan.StateOff) {
			log.Info("bridge changed state", "bridge", b.Name, "mode", b.Mode, "state", b.State)
		}
		for _, e := range b.Errors {
			if !slices.Contains(was.Errors, e) {
				log.Error("bridge stays off: a key can't be read", "bridge", b.Name, "error", e)
			}
		}
	}
	for _, p := range now.Tables.Ports {
		if old.Tables.Port(p.IfIndex) == nil {
			log.Info("port joins the lane", "bridge", p.Rule.Bridge, "device", p.Name, "attach", p.Mode)
		}
	}
	for _, p := range old.Tables.Ports {
		if now.Tables.Port(p.IfIndex) == nil {
			log.Info("port leaves the lane", "bridge", p.Rule.Bridge, "device", p.Name)
		}
	}
	for _, r := range now.Refusals {
		if !slices.Contains(old.Refusals, r) {
			log.Info("stays with OVS", "subject", r.Subject, "reason", r.Reason, "detail", r.Detail)
		}
	}
}
