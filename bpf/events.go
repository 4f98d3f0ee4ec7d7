// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// Event says that a source was seen which the FDB does not know there, that there
// is no flow for a frame, or that a device loses frames. It is a reason to look at
// OVS's MAC table, at its flows, or at Losing, no more: events may be lost.
type Event struct {
	Key
	// IfIndex is the device that the frame came from, or that loses frames.
	IfIndex int
	// Moved tells that the station is known on another port, and its row now
	// marked; else it is not known at all.
	Moved bool
	// Loses tells that the device loses what is redirected to it; Key is zero.
	Loses bool
	// NoFlow tells that there is no flow for a frame (Rule.Flows) of the station
	// Key: OVS's flows are worth a look. One in 64 jiffies and device says so.
	NoFlow bool
}

// ReadEvents waits until the deadline for events and returns what there is.
// A deadline in the past returns what is waiting already.
func (l *Lane) ReadEvents(deadline time.Time) ([]Event, error) {
	var (
		events []Event
		rec    ringbuf.Record
	)
	l.events.SetDeadline(deadline)
	for {
		err := l.events.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
			return events, nil
		}
		if err != nil {
			return events, fmt.Errorf("read events: %w", err)
		}
		if len(rec.RawSample) < 16 {
			continue
		}
		kind := laneEventKind(binary.NativeEndian.Uint32(rec.RawSample[12:]))
		e := Event{
			Key:     keyOf(binary.NativeEndian.Uint64(rec.RawSample)),
			IfIndex: l.ports.ifindexAt(int(binary.NativeEndian.Uint32(rec.RawSample[8:]))),
			Moved:   kind == laneEventKindEVENT_MOVED,
			Loses:   kind == laneEventKindEVENT_LOSES,
			NoFlow:  kind == laneEventKindEVENT_NO_FLOW,
		}
		events = append(events, e)
		if rec.Remaining == 0 {
			return events, nil
		}
	}
}

// WakeReader has a ReadEvents that waits, or else the next one, return at once.
func (l *Lane) WakeReader() error {
	if err := l.events.Flush(); err != nil {
		return fmt.Errorf("wake the reader of events: %w", err)
	}
	return nil
}

// EventsWaiting tells whether events are waiting to be read.
func (l *Lane) EventsWaiting() bool { return l.events.AvailableBytes() > 0 }
