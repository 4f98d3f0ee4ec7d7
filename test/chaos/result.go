// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// result is what one run has shown. Frames are counted from before the fault
// until all was well again.
type result struct {
	*fault
	lane bool

	// Of the flows on the lane's bridges: sent, lost, and lost of the flows that
	// the fault does not concern.
	sent, lost, lostOthers, others int
	// Of the flows on the bridge beside: what the same OVS did by itself.
	control, controlLost int
	// The same as time: each lost frame stands for the time since the one sent
	// before. This process may be held up, and send more in one run than in
	// another.
	lostTime, lostOthersTime, controlTime time.Duration
	// afterDeath counts frames lost that were sent after the daemon had exited.
	afterDeath int
	// wrong counts frames where they must never be, by the lane or otherwise;
	// stray those that the lane sent to machines that nobody sends to.
	wrong, stray, dup, corrupt int
	// toHostile counts frames that the lane sent to hostile machines, evil
	// their frames that arrived, by place.
	toHostile int
	evil      map[string]int
	// elsewhere counts copies that OVS sent to other ports of the VLAN.
	elsewhere int
	// late is for how long a flow that OVS no longer delivers still arrived.
	late time.Duration
	// stillLate tells that it did until the end.
	stillLate bool
	// closedAfter is when the lane carried its last frame; -1: it did not close.
	// backAfter is when it carried all flows again; -1: it does not come back.
	closedAfter, backAfter time.Duration
	cpu                    float64 // of the daemon, in cores
	peak                   int     // of its memory, in KiB
	notes                  []string
	said                   []string // by the fault, for the report
}

// collect counts what the traffic has seen.
func (r *run) collect(res *result, ended time.Duration) {
	t := r.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	res.evil, res.said, res.notes = t.evil, r.notes, slices.Clone(r.notes)
	for _, s := range t.streams {
		var lost []time.Duration
		var lostTime time.Duration
		sent := 0
		for seq, at := range s.sent {
			if at < r.began || at > ended {
				continue
			}
			sent++
			if !s.seen[seq] {
				lost = append(lost, at)
				lostTime += at - s.sent[max(seq-1, 0)]
			}
		}
		concerned := slices.Contains(r.fault.concerns, s.name)
		switch {
		case !s.covered:
			res.control += sent
			res.controlLost += len(lost)
			res.controlTime += lostTime
		case !concerned:
			res.others++
			res.lostOthers += len(lost)
			res.lostOthersTime += lostTime
			fallthrough
		default:
			res.sent += sent
			res.lost += len(lost)
			res.lostTime += lostTime
		}
		for _, at := range lost {
			if r.diedAt != 0 && at > r.diedAt && s.covered {
				res.afterDeath++
			}
		}
		for _, b := range r.barred {
			for seq, at := range s.sent {
				if s.name == b.flow && s.seen[seq] && at > b.from && at < r.overAt {
					res.late = max(res.late, at-b.from)
					res.stillLate = res.stillLate || at > r.overAt-20*meterEvery
				}
			}
		}
		res.wrong += s.wrong
		res.dup += s.dup
		res.corrupt += s.corrupt
		res.elsewhere += s.elsewhere
		res.notes = append(res.notes, s.notes...)
		if len(lost) > 0 {
			res.notes = append(res.notes, fmt.Sprintf("%s: %d of %d lost, sent from %v to %v after the fault", s.name, len(lost), sent,
				(lost[0]-r.hitAt).Round(time.Millisecond), (lost[len(lost)-1]-r.hitAt).Round(time.Millisecond)))
		}
	}
	for _, d := range bystanders {
		res.stray += int(r.meter.sent(d))
	}
	for _, d := range hostile {
		res.toHostile += int(r.meter.sent(d))
	}
	if r.lane && r.fault.closes != stays {
		end := cmp.Or(r.freedAt, r.overAt)
		last, ok := r.meter.lastRise(r.closing(), r.hitAt, end)
		switch {
		case !ok:
			res.closedAfter = 0
		case end-last > 20*meterEvery:
			res.closedAfter = last - r.hitAt
		}
	}
}

// judge compares a run with the daemon with one without, and returns which
// promises are broken. alone is nil where there is no such run.
func judge(with, alone *result) error {
	var errs []error
	broken := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	f := with.fault
	if with.wrong+with.stray > 0 {
		broken("%d frames are where they must never be, %d of them by the lane to machines that nobody sends to", with.wrong+with.stray, with.stray)
	}
	if with.corrupt > 0 {
		broken("%d frames are changed", with.corrupt)
	}
	if with.late > lease {
		broken("what OVS no longer delivers still arrived %v later, promised are %v", with.late, lease)
	}
	if with.stillLate && (alone == nil || !alone.stillLate) {
		broken("what OVS no longer delivers arrived as long as that lasted")
	}
	if with.afterDeath > 0 {
		broken("%d frames were lost that were sent after the daemon's end", with.afterDeath)
	}
	if f.closes != stays && (with.closedAfter < 0 || with.closedAfter > lease) {
		broken("the lane closed after %v (-1ns: never), promised are %v", with.closedAfter, lease)
	}
	if with.sent == 0 || with.control == 0 {
		broken("no frames were sent")
	}
	// What the same OVS lost beside the lane at the same time, or alone.
	allowed := with.controlTime * time.Duration(with.others) / 2
	total := allowed
	if alone != nil {
		allowed = max(allowed, alone.lostOthersTime)
		total = max(total, alone.lostTime)
		if with.dup > alone.dup {
			broken("%d frames arrived twice, %d with OVS alone", with.dup, alone.dup)
		}
	} else if with.dup > 0 {
		broken("%d frames arrived twice", with.dup)
	}
	if limit := allowed + allowed/10 + time.Duration(with.others)*inFlight; with.lostOthersTime > limit {
		broken("%d frames of flows that the fault does not concern were lost, %v of flows in all; with OVS alone %v", with.lostOthers, with.lostOthersTime, allowed)
	}
	if limit := total + total/10 + covered*inFlight + time.Duration(len(f.concerns))*takeUp*lab.Patience(); !f.ownLoss && with.lostTime > limit {
		broken("%d frames were lost, %v of flows in all; with OVS alone %v", with.lost, with.lostTime, total)
	}
	if f.also != nil {
		errs = append(errs, f.also(with, alone))
	}
	return errors.Join(errs...)
}

// String is for the log.
func (r *result) String() string {
	who := "OVS alone"
	if r.lane {
		who = fmt.Sprintf("with the lane (closed after %v, back after %v, CPU %.2f, %d MiB)", r.closedAfter.Round(time.Millisecond),
			r.backAfter.Round(time.Millisecond), r.cpu, r.peak>>10)
	}
	return fmt.Sprintf("%s: %d sent, %d lost (%d of flows not concerned), beside %d of %d; wrong %d, stray %d, dup %d, corrupt %d, elsewhere %d, late %v, to hostile %d, evil %v\n  %s",
		who, r.sent, r.lost, r.lostOthers, r.controlLost, r.control, r.wrong, r.stray, r.dup, r.corrupt, r.elsewhere, r.late.Round(time.Millisecond), r.toHostile, r.evil,
		strings.Join(r.notes, "\n  "))
}
