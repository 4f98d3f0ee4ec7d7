// SPDX-License-Identifier: Apache-2.0

package report

// Coverage adds up the frames of all ports by reason.
func (r Reporter) Coverage() map[string]uint64 {
	total := make(map[string]uint64)
	v := r.Daemon.View()
	for _, name := range r.Daemon.Lane().Reasons() {
		total[name] = 0
	}
	for _, p := range v.Result.Tables.Ports {
		c, err := r.Daemon.Lane().Counters(p.IfIndex)
		if err != nil {
			continue
		}
		for reason, n := range c.Frames {
			total[reason] += n
		}
		total["frames-lost"] += c.Lost
		total["checksums-finished"] += c.Finished
		total["events-limited"] += c.EventsLimited
		total["events-lost"] += c.EventsLost
	}
	a := r.Daemon.AuditTotal()
	total["audit-asked"], total["audit-agreed"] = a.Asked, a.Agreed
	total["audit-mismatches"], total["audit-unanswered"] = a.Mismatches, a.Unanswered
	total["looks"], total["failed-looks"], total["fdb-full"], total["flows-full"] = v.Looks, v.Failures, uint64(v.Full), uint64(v.FullFlows)
	return total
}
