// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
)

// ErrExpired says that the lease ran out before it was renewed: the lane is
// closed, and OVS must be looked at anew before Open.
var ErrExpired = errors.New("lease has run out")

// Open opens the lane for d from now on.
func (l *Lane) Open(d time.Duration) error { return l.renew(d, true) }

// Renew keeps the lane open for d from now on. A lane that is closed stays
// closed, and ErrExpired tells.
func (l *Lane) Renew(d time.Duration) error { return l.renew(d, false) }

// Shut closes the lane at once: every frame passes.
func (l *Lane) Shut() error {
	if err := l.coll.Variables[laneVarLease].Set(uint64(0)); err != nil {
		return fmt.Errorf("close the lane: %w", err)
	}
	return nil
}

func (l *Lane) renew(d time.Duration, reopen bool) error {
	r := laneRenewal{Ticks: max(1, uint64(d.Seconds()*l.ticks))}
	if reopen {
		r.Reopen = 1
	}
	r, err := l.runRenewal(r)
	if err != nil {
		return err
	}
	if r.Expired != 0 && !reopen {
		return ErrExpired
	}
	return nil
}

func (l *Lane) runRenewal(r laneRenewal) (laneRenewal, error) {
	var in bytes.Buffer
	if err := binary.Write(&in, binary.NativeEndian, r); err != nil {
		return r, fmt.Errorf("renew the lease: %w", err)
	}
	out := in.Bytes()
	if _, err := l.coll.Programs[laneProgRenewLease].Run(&ebpf.RunOptions{Context: in.Bytes(), ContextOut: &out}); err != nil {
		return r, fmt.Errorf("renew the lease: %w", err)
	}
	if err := binary.Read(bytes.NewReader(out), binary.NativeEndian, &r); err != nil {
		return r, fmt.Errorf("renew the lease: %w", err)
	}
	return r, nil
}

// jiffies reads the kernel's clock that the program uses.
func (l *Lane) jiffies() (uint64, error) {
	r, err := l.runRenewal(laneRenewal{})
	return r.Now, err
}

// measureTicks finds out how many jiffies a second has: CONFIG_HZ, which the
// kernel does not tell.
func (l *Lane) measureTicks(d time.Duration) (float64, error) {
	start := time.Now()
	first, err := l.jiffies()
	if err != nil {
		return 0, err
	}
	time.Sleep(d)
	last, err := l.jiffies()
	if err != nil {
		return 0, err
	}
	measured := float64(last-first) / time.Since(start).Seconds()
	best := 100.0
	for _, hz := range []float64{250, 300, 1000} {
		if math.Abs(measured-hz) < math.Abs(measured-best) {
			best = hz
		}
	}
	return best, nil
}

// stamp returns the keep-alive stamp of now; 0, which makes the next frame a
// keep-alive, when the clock can't be read.
func (l *Lane) stamp() uint16 {
	now, err := l.jiffies()
	if err != nil {
		return 0
	}
	return uint16(now >> laneLimitsSTAMP_SHIFT)
}

// stampFor is how long lateStamp goes on with one stamp: its unit is larger.
const stampFor = 20 * time.Millisecond

// lateStamp is a stamp that may be a little old, as those of many rows written at
// once are: reading the clock takes longer than writing a row.
func (l *Lane) lateStamp() uint16 {
	if now := time.Now(); now.Sub(l.stamped) >= stampFor {
		l.stamped, l.lastStamp = now, l.stamp()
	}
	return l.lastStamp
}

// LeaseLeft returns for how long the lane stays open without a renewal, 0 when it
// is closed. It may be called from any goroutine.
func (l *Lane) LeaseLeft() (time.Duration, error) {
	var until uint64
	if err := l.coll.Variables[laneVarLease].Get(&until); err != nil {
		return 0, fmt.Errorf("read the lease: %w", err)
	}
	now, err := l.jiffies()
	if err != nil || now >= until {
		return 0, err
	}
	return time.Duration(float64(until-now) / l.ticks * float64(time.Second)), nil
}
