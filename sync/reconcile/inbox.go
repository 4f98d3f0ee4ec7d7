// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
)

// inbox collects the kernel's events for the loop.
type inbox struct {
	ready  chan struct{}
	losses chan struct{} // a device loses frames: bpf.Lane.Losing tells which
	noFlow chan struct{} // there is no flow for a frame
	stop   func()        // nil: nobody fills it
	mu     sync.Mutex
	events []bpf.Event
}

// wakeAnyway is how long the reader of events sleeps at most.
const wakeAnyway = 5 * time.Second

// startEvents has the kernel's events read. One process may read them at a time.
func (d *Daemon) startEvents() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.inbox.fill(ctx, d.lane, d.log)
	}()
	d.inbox.stop = func() {
		cancel()
		_ = d.lane.WakeReader() // or it wakes by itself
		<-ended
	}
}

func (d *Daemon) stopEvents() {
	if d.inbox.stop != nil {
		d.inbox.stop()
		d.inbox.stop = nil
	}
}

func (b *inbox) fill(ctx context.Context, lane *bpf.Lane, log *slog.Logger) {
	for ctx.Err() == nil {
		events, err := lane.ReadEvents(time.Now().Add(wakeAnyway))
		if err != nil {
			log.Error("events of the data path can't be read; stations are found by polling", "error", err)
			return
		}
		events = slices.DeleteFunc(events, func(e bpf.Event) bool {
			switch {
			case e.Loses:
				wake(b.losses)
			case e.NoFlow:
				wake(b.noFlow)
			}
			return e.Loses || e.NoFlow
		})
		if len(events) == 0 {
			continue
		}
		b.mu.Lock()
		b.events = append(b.events, events...)
		b.mu.Unlock()
		wake(b.ready)
	}
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns what came since the last take.
func (b *inbox) take() []bpf.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

// drain waits until what the kernel has reported so far is in the inbox, or
// the time is up.
func (b *inbox) drain(lane *bpf.Lane) []bpf.Event {
	for deadline := time.Now().Add(confirmWait); lane.EventsWaiting() && time.Now().Before(deadline); {
		time.Sleep(100 * time.Microsecond)
	}
	return b.take()
}
