// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// rate is how many frames of each flow are sent a second.
const rate = 300

// magic begins the payload of numbered frames, evil is somewhere in those of a
// hostile machine.
var (
	magic = []byte("chaos-traffic")
	evil  = []byte("evil-traffic")
)

// stream is one flow in one run. The traffic's lock guards it.
type stream struct {
	*flow
	number uint16
	sent   []time.Duration // when, by sequence number
	seen   []bool          // at the right place
	wrong, dup, corrupt,
	elsewhere int // copies at other ports of the VLAN
	homes []home // where else its frames may be, after a change of OVS
	notes []string
}

// home is a VLAN of a bridge.
type home struct {
	bridge string
	vlan   ovs.VLAN
}

// shapes tells how a frame of the stream looks at a place, for each of the VLANs
// that it may be in; none where it must not be.
func (s *stream) shapes(p *place) [][]frame.Tag {
	var all [][]frame.Tag
	for _, h := range append([]home{{s.from.bridge, s.vlan}}, s.homes...) {
		if tags, ok := p.tags(h.bridge, h.vlan); ok && p != s.from {
			all = append(all, tags)
		}
	}
	return all
}

// traffic is the flows of one run, and everything that arrives.
type traffic struct {
	n       *network
	id      uint32
	start   time.Time
	mu      sync.Mutex
	streams []*stream
	evil    map[string]int // frames of hostile machines, by place
	odd     map[string]int // frames that nobody sent, by place

	stopSending, stopReceiving chan struct{}
	senders, receivers         sync.WaitGroup
}

var runs atomic.Uint32

// newTraffic begins to receive everywhere, and to send.
func (n *network) newTraffic() *traffic {
	t := &traffic{n: n, id: uint32(os.Getpid())<<12 | runs.Add(1), start: time.Now(), evil: make(map[string]int), odd: make(map[string]int),
		stopSending: make(chan struct{}), stopReceiving: make(chan struct{})}
	for i, f := range n.flows {
		t.streams = append(t.streams, &stream{flow: f, number: uint16(i)})
	}
	for _, p := range n.order {
		t.receivers.Go(func() { t.receive(p) })
	}
	t.senders.Go(t.send)
	return t
}

func (t *traffic) now() time.Duration { return time.Since(t.start) }

// stop ends the sending, waits for what is under way, and ends the receiving.
func (t *traffic) stop(underWay time.Duration) {
	close(t.stopSending)
	t.senders.Wait()
	time.Sleep(underWay)
	close(t.stopReceiving)
	t.receivers.Wait()
}

// send sends a frame of each flow at a steady rate. When this process was held
// up it does not catch up.
func (t *traffic) send() {
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for {
		select {
		case <-t.stopSending:
			return
		case <-tick.C:
		}
		for _, s := range t.streams {
			t.mu.Lock()
			seq := len(s.sent)
			s.sent, s.seen = append(s.sent, t.now()), append(s.seen, false)
			t.mu.Unlock()
			if err := s.from.wire().Send(t.build(s, uint32(seq))); err != nil {
				t.mu.Lock() // it never left its machine
				s.sent, s.seen = s.sent[:seq], s.seen[:seq]
				t.mu.Unlock()
			}
		}
	}
}

// build makes a frame of a stream as it goes into the bridge. Its bytes are a
// function of run, stream and number alone.
func (t *traffic) build(s *stream, seq uint32) []byte {
	p := append([]byte(nil), magic...)
	p = binary.BigEndian.AppendUint32(p, t.id)
	p = binary.BigEndian.AppendUint16(p, s.number)
	p = binary.BigEndian.AppendUint32(p, seq)
	x := seq*2654435761 + uint32(s.number)
	for n := 20 + seq*37%1100; n > 0; n-- {
		x = x*1664525 + 1013904223
		p = append(p, byte(x>>24))
	}
	tags, _ := s.from.tags(s.from.bridge, s.vlan)
	return frame.UDP4(s.dst, s.src, frame.Payload(p), frame.Tagged(tags...))
}

// receive takes what arrives at a place until the run ends.
func (t *traffic) receive(p *place) {
	for {
		b, err := p.wire().Recv(100 * time.Millisecond)
		if err == nil {
			t.arrived(p, b)
			continue
		}
		select {
		case <-t.stopReceiving:
			return
		default:
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(5 * time.Millisecond) // its device is down or gone
		}
	}
}

// arrived judges a frame at a place.
func (t *traffic) arrived(p *place, b []byte) {
	i := bytes.Index(b, magic)
	if i < 0 || len(b) < i+len(magic)+10 {
		t.mu.Lock()
		defer t.mu.Unlock()
		if bytes.Contains(b, evil) {
			t.evil[p.name]++
		} else {
			t.odd[p.name]++
		}
		return
	}
	head := b[i+len(magic):]
	id, number, seq := binary.BigEndian.Uint32(head), binary.BigEndian.Uint16(head[4:]), binary.BigEndian.Uint32(head[6:])
	if id != t.id {
		return // of the run before
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(number) >= len(t.streams) || int(seq) >= len(t.streams[number].sent) {
		t.odd[p.name]++
		return
	}
	s := t.streams[number]
	note := func(what string) {
		if len(s.notes) < 5 {
			s.notes = append(s.notes, fmt.Sprintf("frame %d of %s, sent at %v, %s at %s", seq, s.name, s.sent[seq].Round(time.Millisecond), what, p.name))
		}
	}
	shapes := s.shapes(p)
	if len(shapes) == 0 {
		s.wrong++
		note("is where its VLAN is not")
		return
	}
	sent := t.build(s, seq)
	if !slices.ContainsFunc(shapes, func(tags []frame.Tag) bool { return bytes.Equal(b, frame.Retag(sent, tags...)) }) {
		s.corrupt++
		note("is changed")
		return
	}
	switch {
	case p != s.to:
		s.elsewhere++
	case s.seen[seq]:
		s.dup++
		note("is there twice")
	default:
		s.seen[seq] = true
	}
}

// mayBeIn says that frames of these streams may be in another VLAN from now on.
func (t *traffic) mayBeIn(bridge string, v ovs.VLAN, names ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.streams {
		if slices.Contains(names, s.name) {
			s.homes = append(s.homes, home{bridge, v})
		}
	}
}

// delivering tells whether every stream has arrived lately.
func (t *traffic) delivering(since time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.streams {
		ok := false
		for seq := len(s.sent) - 1; seq >= 0 && s.sent[seq] > since && !ok; seq-- {
			ok = s.seen[seq]
		}
		if !ok {
			return fmt.Errorf("nothing of %s arrives", s.name)
		}
	}
	return nil
}
