// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// late is how long a frame, or a row of a MAC table, may be missing on one side
// before the sides count as different.
var late = time.Second * lab.Patience()

// arrivals counts what arrived: by port and bytes, up for OVS alone and down
// for the lane, so that what is the same leaves nothing.
type arrivals map[arrival]int

type arrival struct {
	port int
	data string
}

// collect takes what has arrived by now.
func (r *Rig) collect(into arrivals) (int, error) {
	n := 0
	for _, s := range r.sides() {
		step := 1
		if s.lane {
			step = -1
		}
		for port, p := range s.ports {
			for {
				b, err := p.TryRecv()
				if errors.Is(err, lab.ErrNothing) {
					break
				}
				if err != nil {
					return n, err
				}
				n++
				if isSpanningTree(b) {
					continue
				}
				a := arrival{port, string(b)}
				if into[a] += step; into[a] == 0 {
					delete(into, a)
				}
			}
		}
	}
	return n, nil
}

// isSpanningTree tells BPDUs that OVS itself sends: the two sides send theirs
// at times of their own.
func isSpanningTree(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0x01, 0x80, 0xc2, 0, 0, 0}) && len(b) > 17 &&
		!bytes.HasPrefix(b[6:], []byte{0x52, 0x54}) && bytes.Equal(b[14:17], []byte{0x42, 0x42, 3})
}

// drain throws away what is still on its way.
func (r *Rig) drain() error {
	for quiet := 0; quiet < 3; quiet++ {
		if err := r.barrier(); err != nil {
			return err
		}
		n, err := r.collect(make(arrivals))
		if err != nil {
			return err
		}
		if n > 0 {
			quiet = 0
		}
	}
	return nil
}

// exchange sends frames on both sides, in lockstep, and returns what arrived on
// one side only.
func (r *Rig) exchange(frames []*Frame) (arrivals, error) {
	for _, f := range frames {
		first := r.alone.ports[f.Port].Send(f.Data)
		second := r.lane.ports[f.Port].Send(f.Data)
		if (first == nil) != (second == nil) {
			return nil, fmt.Errorf("send %s: %w", f, errors.Join(first, second))
		}
	}
	differ := make(arrivals)
	pause := 200 * time.Microsecond
	for began := time.Now(); ; {
		if err := r.barrier(); err != nil {
			return nil, err
		}
		if _, err := r.collect(differ); err != nil {
			return nil, err
		}
		if len(differ) == 0 || time.Since(began) > late {
			return differ, nil
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// explain says what arrived on one side only, and which of the frames sent it
// belongs to.
func (a arrivals) explain(sent []*Frame) string {
	var lines []string
	for got, n := range a {
		side := "OVS alone"
		if n < 0 {
			side, n = "OVS with the lane", -n
		}
		line := fmt.Sprintf("    port %d, only with %s", got.port, side)
		if n > 1 {
			line += fmt.Sprintf(", %d times", n)
		}
		line += ": " + describe([]byte(got.data))
		for _, f := range sent {
			if bytes.HasSuffix(f.Data, []byte(got.data[max(0, len(got.data)-20):])) {
				line += "\n      of what was sent " + f.String()
				line += fmt.Sprintf("\n      sent % x\n      got  % x", f.Data[:min(len(f.Data), 80)], got.data[:min(len(got.data), 80)])
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	if len(lines) > 8 {
		lines = append(lines[:8], fmt.Sprintf("    and %d more", len(lines)-8))
	}
	return "  received differently:\n" + strings.Join(lines, "\n") + "\n"
}
