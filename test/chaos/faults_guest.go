// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// guestFaults are what hostile machines behind ev1 and ev2, in the VLAN of A and
// B, do to the others.
var guestFaults = []fault{
	{
		name: "MAC flood: 20,000 sources", promise: "nothing lost that OVS alone keeps; at most half a core, 256 MiB",
		short:  true,
		inject: func(r *run) error { return r.flood(20_000, 10_000) },
		also:   bounded,
	},
	{
		name: "MAC flood: 1,000,000 sources", promise: "the same",
		inject: func(r *run) error { return r.flood(1_000_000, 25_000) },
		also:   bounded,
	},
	{
		name: "MAC flood into a full FDB (--fdb-rows=1024); br1 forgets its stations meanwhile", promise: "br1 is back on the lane during the flood",
		flags:  []string{"--fdb-rows=1024"},
		inject: starve,
		also:   bounded,
	},
	{
		name: "VLAN hopping: frames with tags from an access port", promise: "they arrive where OVS alone brings them; nothing lost",
		inject: hop,
		also:   sameEvil,
	},
	{
		name: "spoofing of A and B, whose attached-mac is set", promise: "no lane to the hostile machine; what is lost is lost by OVS alone too",
		short: true, declared: true, concerns: []string{"A>B", "B>A", "G>A"},
		inject: func(r *run) error {
			if err := r.declare("v1", "t1", "ev1", "ev2"); err != nil {
				return err
			}
			return r.spoof("A>B", "B>A")
		},
		also: func(with, _ *result) error {
			if with.toHostile > 0 {
				return fmt.Errorf("the lane sent %d frames to hostile machines", with.toHostile)
			}
			return nil
		},
	},
	{
		name: "spoofing of the gateway, which nobody has declared", promise: "OVS decides where it is: what does not reach it reached the other; others lose nothing",
		concerns: []string{"A>G", "G>A"}, ownLoss: true,
		inject: func(r *run) error { return r.spoof("G>A") },
		also: func(with, _ *result) error {
			if with.lost > with.elsewhere+with.sent/1000 {
				return fmt.Errorf("%d frames were lost, and %d arrived elsewhere", with.lost, with.elsewhere)
			}
			return nil
		},
	},
	{
		name: "malformed headers", promise: "nothing lost",
		inject: malformed,
	},
	{
		name: "ARP storm", promise: "nothing lost that OVS alone keeps; CPU and memory bounded",
		inject: func(r *run) error {
			src := r.places["ev1"].mac
			return r.storm(func(i int) []byte {
				return frame.ARPRequest(src, frame.IP4(src), frame.IP4(ovs.MAC{3: byte(i >> 16), 4: byte(i >> 8), 5: byte(i)}))
			}, "ev1")
		},
		also: bounded,
	},
	{
		name: "event flood: 200 stations that two machines show in turns", promise: "the same",
		inject: func(r *run) error {
			return r.storm(func(i int) []byte {
				return frame.UDP4(frame.Broadcast, ovs.MAC{0x02, 0xee, 0, 0, 0, byte(i % 200)}, frame.Payload(evil))
			}, "ev1", "ev2")
		},
		also: bounded,
	},
}

// bounded checks what a flood may cost the daemon.
func bounded(with, _ *result) error {
	if with.cpu > 0.5 || with.peak > 256<<10 {
		return fmt.Errorf("the daemon took %.2f cores and %d MiB", with.cpu, with.peak>>10)
	}
	return nil
}

// attack sends frames from places in turns, at most so many a second, until the
// count is reached or done is closed.
func (r *run) attack(done <-chan struct{}, count, rate int, build func(i int) []byte, from ...string) error {
	const batch = 25
	start := time.Now()
	for i := 0; i < count; i++ {
		err := r.places[from[i%len(from)]].wire().Send(build(i))
		if err != nil && i == 0 {
			return err
		}
		if i%batch != batch-1 {
			continue
		}
		select {
		case <-done:
			return nil
		default:
		}
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
	}
	return nil
}

// flood sends frames from so many sources to the other hostile machine.
func (r *run) flood(sources, rate int) error {
	if err := r.speak("ev2"); err != nil {
		return err
	}
	r.hit()
	start := time.Now()
	err := r.attack(nil, sources, rate, r.source(), "ev1")
	r.note("%d sources in %v", sources, time.Since(start).Round(time.Second/10))
	r.over()
	return err
}

// speak has a hostile machine say where it is, so that OVS need not flood.
func (r *run) speak(name string) error {
	p := r.places[name]
	return p.wire().Send(frame.UDP4(frame.Broadcast, p.mac, frame.Payload(evil)))
}

// source makes frames to ev2, each from another address.
func (r *run) source() func(i int) []byte {
	b := frame.UDP4(r.places["ev2"].mac, ovs.MAC{0x02}, frame.Payload(evil))
	return func(i int) []byte {
		x := uint32(i) * 2654435761 // each is another
		b[6], b[7] = 0x02, 0x0f
		binary.BigEndian.PutUint32(b[8:], x) // IPv4 does not look at it: the checksums stay right
		return b
	}
}

// starve fills the FDB from br0, and has br1 forget its stations: they must come
// back on the lane while the flood goes on.
func starve(r *run) error {
	err := r.ovs("set", "bridge", "br0", "other_config:mac-table-size=60000")
	if err != nil {
		return err
	}
	r.later(func() error { return r.ovs("remove", "bridge", "br0", "other_config", "mac-table-size") })
	if err := r.speak("ev2"); err != nil {
		return err
	}
	done := make(chan struct{})
	var attacker sync.WaitGroup
	r.hit()
	attacker.Go(func() { _ = r.attack(done, 1<<30, 4000, r.source(), "ev1") })
	defer attacker.Wait()
	defer close(done)
	time.Sleep(3 * time.Second)
	if _, err := r.Appctl("fdb/flush", "br1"); err != nil {
		return err
	}
	time.Sleep(time.Second)
	if r.lane {
		flushed := r.traffic.now()
		err := lab.Eventually(15*time.Second*lab.Patience(), func() error {
			if _, ok := r.meter.allRise([]string{"w1", "w2"}, flushed); ok {
				return nil
			}
			status, err := r.daemon.ask("offload/show")
			return fmt.Errorf("br1 does not come back on the lane: error %v, status:\n%s", err, status)
		})
		if err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	r.over()
	return nil
}

// hop sends frames to A, C and H with all manner of tags.
func hop(r *run) error {
	r.hit()
	targets := []ovs.MAC{r.places["v1"].mac, r.places["v2"].mac, r.host, r.gateway}
	tags := [][]frame.Tag{
		{{VID: 20}}, {{VID: 10}}, {{VID: 0}}, {{VID: 4095}}, {{VID: 10}, {VID: 20}}, {{VID: 20}, {VID: 20}},
		{{TPID: frame.TypeQinQ, VID: 20}}, {{TPID: frame.TypeQinQ, VID: 10}, {VID: 20}}, {{VID: 0}, {VID: 20}},
	}
	err := r.attack(nil, 4000, 2000, func(i int) []byte {
		return frame.UDP4(targets[i%len(targets)], r.places["ev1"].mac, frame.Payload(evil), frame.Tagged(tags[i/len(targets)%len(tags)]...))
	}, "ev1")
	time.Sleep(300 * time.Millisecond)
	r.over()
	return err
}

// sameEvil checks that hostile frames arrive where OVS alone brings them.
func sameEvil(with, alone *result) error {
	got, want := slices.Sorted(maps.Keys(with.evil)), slices.Sorted(maps.Keys(alone.evil))
	if !slices.Equal(got, want) {
		return fmt.Errorf("hostile frames arrive at %v, with OVS alone at %v", got, want)
	}
	return nil
}

// declare sets attached-mac of ports, until the end.
func (r *run) declare(names ...string) error {
	for _, name := range names {
		if err := r.ovs("set", "interface", name, `external_ids:attached-mac="`+r.places[name].mac.String()+`"`); err != nil {
			return err
		}
		r.later(r.vsctl("remove", "interface", name, "external_ids", "attached-mac"))
	}
	time.Sleep(time.Second)
	return nil
}

// spoof sends frames with the sources of flows to their destinations.
func (r *run) spoof(names ...string) error {
	var frames [][]byte
	for _, f := range r.network.flows {
		if slices.Contains(names, f.name) {
			frames = append(frames, frame.UDP4(f.dst, f.src, frame.Payload(evil)))
		}
	}
	r.hit()
	err := r.attack(nil, 3000, 1000, func(i int) []byte { return frames[i%len(frames)] }, "ev1")
	r.over()
	return err
}

// malformed sends frames whose headers are cut off, lie or are noise.
func malformed(r *run) error {
	random := rand.New(rand.NewPCG(1, 2))
	dst, src := r.places["v1"].mac, r.places["ev1"].mac
	r.hit()
	err := r.attack(nil, 6000, 3000, func(i int) []byte {
		b := [][]byte{frame.UDP4(dst, src, frame.Payload(evil)), frame.TCP6(dst, src, frame.Payload(evil)),
			frame.UDP6(dst, src, frame.Fragment(1, true)), frame.UDP4(dst, src, frame.OnVLAN(10), frame.IPOptions(make([]byte, 8)))}[i%4]
		switch i / 4 % 3 {
		case 0: // too short; what is shorter than an Ethernet header does not leave the machine
			return b[:14+random.IntN(len(b)-14)]
		case 1: // lengths, versions, next headers at random
			for range 3 {
				b[12+random.IntN(min(48, len(b)-12))] = byte(random.Uint32())
			}
			return b
		}
		for j := 12; j < len(b); j++ {
			b[j] = byte(random.Uint32())
		}
		return b
	}, "ev1")
	time.Sleep(300 * time.Millisecond)
	r.over()
	return err
}

// storm sends frames for 4 s.
func (r *run) storm(build func(i int) []byte, from ...string) error {
	r.hit()
	err := r.attack(nil, 20_000, 5000, build, from...)
	r.over()
	return err
}
