// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// every is a mask of all fields.
var every = func() (f ovs.Fields) {
	eachField(&f, &f, &f, func(field, _, _ []byte) {
		for i := range field {
			field[i] = 0xff
		}
	})
	return f
}()

// eachField calls fn with the bytes of each field of three alike.
func eachField(x, y, z *ovs.Fields, fn func(x, y, z []byte)) {
	fn(x.Dst[:], y.Dst[:], z.Dst[:])
	fn(x.Src[:], y.Src[:], z.Src[:])
	fn(x.IPSrc[:], y.IPSrc[:], z.IPSrc[:])
	fn(x.IPDst[:], y.IPDst[:], z.IPDst[:])
	for _, f := range []func(*ovs.Fields) *uint8{
		func(f *ovs.Fields) *uint8 { return &f.Proto }, func(f *ovs.Fields) *uint8 { return &f.TOS },
		func(f *ovs.Fields) *uint8 { return &f.TTL }, func(f *ovs.Fields) *uint8 { return &f.Frag },
	} {
		fn(unsafe.Slice(f(x), 1), unsafe.Slice(f(y), 1), unsafe.Slice(f(z), 1))
	}
	for _, f := range []func(*ovs.Fields) *uint16{
		func(f *ovs.Fields) *uint16 { return &f.EtherType }, func(f *ovs.Fields) *uint16 { return &f.TCI },
		func(f *ovs.Fields) *uint16 { return &f.TPSrc }, func(f *ovs.Fields) *uint16 { return &f.TPDst },
		func(f *ovs.Fields) *uint16 { return &f.TCPFlags },
	} {
		a, b, c := be16(*f(x)), be16(*f(y)), be16(*f(z))
		fn(a, b, c)
		*f(x), *f(y), *f(z) = word(a, 0), word(b, 0), word(c, 0)
	}
}

// matches tells whether the fields are those of the rule in the bits of its mask.
func matches(r ListRule, f ovs.Fields) bool {
	same := true
	eachField(&r.Value, &r.Mask, &f, func(value, mask, field []byte) {
		for i := range value {
			same = same && (value[i]^field[i])&mask[i] == 0
		}
	})
	return same
}

// randomMatch makes a rule of random bits of the fields of a frame, which it
// matches in one of two cases. Bits of the value outside of the mask mean nothing.
func randomMatch(rng *rand.Rand, f ovs.Fields) ListRule {
	var r ListRule
	flip := rng.IntN(2) == 0
	eachField(&r.Value, &r.Mask, &f, func(value, mask, field []byte) {
		kind := rng.IntN(4)
		for i := range value {
			noise := byte(rng.Uint32())
			mask[i] = []byte{0, 0, 0xff, noise}[kind]
			value[i] = field[i]&mask[i] | byte(rng.Uint32())&^mask[i]
		}
		if i := rng.IntN(len(value)); flip && rng.IntN(4) == 0 {
			value[i] ^= 1 << rng.IntN(8)
		}
	})
	return r
}

// randomKeyFrame returns a frame of any kind that rules can tell, whole or broken,
// tagged or not.
func randomKeyFrame(rng *rand.Rand) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	protos := []uint8{protoTCP, protoUDP, protoSCTP, protoICMP, protoICMPv6, protoIGMP, protoGRE, protoAH, protoNone}
	var b []byte
	switch rng.IntN(8) {
	case 0:
		b = frame.ARPReply(macB, macA, frame.IP4(macA), frame.IP4(macB))
		copy(b[14+8:], noise(20))
		b[14+7] = byte(rng.IntN(4))
		if rng.IntN(4) == 0 {
			binary.BigEndian.PutUint16(b[12:], 0x8035)
		}
	case 1:
		b = raw(macB, macA, []uint16{uint16(rng.Uint32()), 0x8847, 0x88cc, 46, 0x5ff, 0x600}[rng.IntN(6)], noise(1+rng.IntN(60)))
	case 2, 3:
		b = ip4(macB, macA, protos[rng.IntN(len(protos))], noise(rng.IntN(40)))
	case 4, 5:
		b = ip6(macB, macA, protos[rng.IntN(len(protos))], noise(rng.IntN(40)))
	default:
		b = randomIP(rng)
	}
	switch word(b, 12) {
	case frame.TypeIPv4:
		b[15], b[22] = byte(rng.Uint32()), byte(rng.Uint32())
		if rng.IntN(3) == 0 { // flags and offset, some of them 0
			copy(b[20:], be16(uint16(rng.IntN(8))<<13|uint16(rng.IntN(2)*rng.IntN(0x2000))))
		}
	case frame.TypeIPv6:
		b[14], b[15], b[21] = 0x60|byte(rng.IntN(16)), byte(rng.Uint32()), byte(rng.Uint32())
		for range max(0, rng.IntN(12)-7) {
			header := []uint8{protoHopByHop, protoDstOpts, protoRouting, protoFragment}[rng.IntN(4)]
			size := 8 * (1 + rng.IntN(3))
			if rng.IntN(10) == 0 {
				size = 8 * (1 + rng.IntN(140))
			}
			if header == protoFragment {
				size = 8
			}
			b = extended(b, header, size)
			if header == protoFragment {
				copy(b[56:], be16(uint16(rng.IntN(2)*rng.IntN(0x2000))<<3|uint16(rng.IntN(8))))
			}
		}
	}
	if rng.IntN(12) == 0 {
		b = append(b, noise(rng.IntN(400))...)
	}
	if rng.IntN(2) == 0 {
		b = broken(rng, b)
	}
	if rng.IntN(3) == 0 {
		tag := frame.Tag{VID: ovs.VLAN(1 + rng.IntN(4095)), PCP: uint8(rng.IntN(8))}
		if rng.IntN(8) == 0 {
			tag.VID, tag.DEI = tag.VID*ovs.VLAN(rng.IntN(2)), true
		}
		b = retagged(b, tag)
		if rng.IntN(16) == 0 {
			b = retagged(b, tag)
		}
		if rng.IntN(16) == 0 {
			copy(b[12:], be16(frame.TypeQinQ))
		}
	}
	return b
}

// keyWorld is a lane whose lists decide frames from device 0, which is on no VLAN:
// they are dropped by a rule, or pass.
func keyWorld(t *testing.T) *world {
	w := newWorld(t, 2, Config{Rules: 1024, Rows: 64, Ports: 8})
	w.reset()
	w.port(0, access(10))
	return w
}

// idle closes device 0 and saves the wait for programs: none runs.
func (w *world) idle() {
	w.lane.ClosePort(w.dev[0])
	w.lane.lists.asked = false
}

// drops puts a list on device 0 and tells whether a frame from there is dropped.
func (w *world) drops(b []byte, list []ListRule) bool {
	w.Helper()
	w.idle()
	w.must(w.lane.PutList(rulesOf0, list))
	w.rule(0, access(10).with(func(r *Rule) { r.Rules = rulesOf0 }))
	verdict, leaves := w.run(0, b, 0)
	if verdict != xdpDrop && verdict != xdpPass || !slices.Equal(leaves, b) {
		w.Fatalf("verdict %d, and it leaves as % x", verdict, leaves)
	}
	return verdict == xdpDrop
}

// What the program reads of random frames, and of such as are broken, is what
// all datapaths of OVS read, field by field; where they do not agree it reads
// nothing. Rules of random bits match accordingly.
func TestRandomKeys(t *testing.T) {
	w := keyWorld(t)
	rng := seeded(t)
	seen := make(map[string]int)
	for n := range often(20_000) {
		b := randomKeyFrame(rng)
		key, sure := referenceKey(b)
		exact := []ListRule{{Value: key, Mask: every, Verdict: VerdictDrop}, matchAll}
		if got := w.drops(b, exact); got != sure {
			t.Fatalf("frame %d: dropped by what it is: %v, want %v\n% x\n%+v", n, got, sure, b, key)
		}
		if got := w.drops(b, []ListRule{{Verdict: VerdictDrop}}); got != sure {
			t.Fatalf("frame %d: read as a whole: %v, want %v\n% x\n%+v", n, got, sure, b, key)
		}
		masked := randomMatch(rng, key)
		masked.Verdict = VerdictDrop
		want := sure && matches(masked, key)
		if got := w.drops(b, []ListRule{masked, matchAll}); got != want {
			t.Fatalf("frame %d: dropped by some bits: %v, want %v\n% x\n%+v\n%+v", n, got, want, b, key, masked)
		}
		seen[kindOf(key, sure)]++
		if want {
			seen["some bits"]++
		}
	}
	t.Logf("%v", seen)
	for _, kind := range []string{"unsure", "some bits", "TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "first fragment", "later fragment", "ARP", "tagged", "other"} {
		if seen[kind] < often(50) {
			t.Errorf("%q came %d times", kind, seen[kind])
		}
	}
}

func kindOf(f ovs.Fields, sure bool) string {
	if !sure {
		return "unsure"
	}
	switch f.Frag {
	case ovs.FragAny:
		return "first fragment"
	case ovs.FragAny | ovs.FragLater:
		return "later fragment"
	}
	if f.TCI != 0 {
		return "tagged"
	}
	if f.EtherType == frame.TypeARP {
		return "ARP"
	}
	name := map[uint8]string{protoTCP: "TCP", protoUDP: "UDP", protoSCTP: "SCTP", protoICMP: "ICMP", protoICMPv6: "ICMPv6"}[f.Proto]
	if name == "" || f.Proto == 0 {
		return "other"
	}
	return name
}

// Of the rules of a port and those of a destination the first that matches
// decides, whichever list it is in, and it alone counts.
func TestRandomLists(t *testing.T) {
	w := keyWorld(t)
	w.port(1, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	rng := seeded(t)
	seen := make(map[Verdict]int)
	both := 0
	for n := range often(6000) {
		var b []byte
		sure := false
		var key ovs.Fields
		for !sure || key.TCI != 0 {
			b = randomKeyFrame(rng)
			key, sure = referenceKey(b)
		}
		var lists [2][]ListRule
		for order := range uint32(rng.IntN(40)) {
			r := randomMatch(rng, key)
			r.Order, r.Verdict = order*3, []Verdict{VerdictPass, VerdictNormal, VerdictDrop}[rng.IntN(3)]
			if rng.IntN(3) > 0 { // as a rule it matches another frame
				r.Value.Src[5] ^= 0x40
				r.Mask.Src[5] |= 0x40
			}
			which := rng.IntN(2)
			lists[which] = append(lists[which], r)
		}
		decided := [2]int{-1, -1} // the first that matches of each
		for i, list := range lists {
			decided[i] = slices.IndexFunc(list, func(r ListRule) bool { return matches(r, key) })
		}
		want, by := VerdictPass, -1
		for i, at := range decided {
			if at >= 0 && (by < 0 || lists[i][at].Order < lists[by][decided[by]].Order) {
				want, by = lists[i][at].Verdict, i
			}
		}
		if decided[0] >= 0 && decided[1] >= 0 {
			both++
		}
		w.idle()
		w.must(w.lane.DeleteList(rulesOf0))
		w.must(w.lane.DeleteList(rulesOfB))
		decidedBy(lists[0], lists[1])(w)
		if len(lists[0])+len(lists[1]) == 0 {
			want = VerdictNormal // there are no rules
		}
		before := w.counters(0).Frames
		verdict, _ := w.run(0, b, 0)
		after := w.counters(0).Frames
		// Behind NORMAL there is all the rest of the program.
		dropped, left := verdict == xdpDrop, after["rule"] > before["rule"]
		if dropped != (want == VerdictDrop) || left != (want == VerdictPass) {
			t.Fatalf("round %d: verdict %d, want %d of list %d %v\n% x\n%+v", n, verdict, want, by, decided, b, lists)
		}
		counted := uint64(0)
		for i, k := range []ListKey{rulesOf0, rulesOfB} {
			for at, c := range w.lane.ListCounts(k) {
				counted += c.Frames
				if c.Frames > 0 && (i != by || at != decided[i]) {
					t.Fatalf("round %d: rule %d of list %d counted, want %d of list %d", n, at, i, decided[max(by, 0)], by)
				}
			}
		}
		if by >= 0 && (verdict == xdpDrop || verdict == xdpRedirect) != (counted == 1) {
			t.Fatalf("round %d: verdict %d counted %d times", n, verdict, counted)
		}
		seen[want]++
	}
	t.Logf("%v, %d by both lists", seen, both)
	if both < often(500) || min(seen[VerdictPass], seen[VerdictNormal], seen[VerdictDrop]) < often(500) {
		t.Errorf("verdicts %v, %d by both lists", seen, both)
	}
}

// often is how often a random test tries, a fifth in short mode.
func often(n int) int {
	if testing.Short() {
		return n / 5
	}
	return n
}
