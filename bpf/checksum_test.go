// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// checksumTests come from a port with the guard; each frame that it stops is
// tried without the guard, too.
func checksumTests() []laneTest {
	partial := frame.PartialChecksum()
	udp4, udp6 := frame.UDP4(macB, macA), frame.UDP6(macB, macA)
	udp6p, tcp6p := frame.UDP6(macB, macA, partial), frame.TCP6(macB, macA, partial)
	long := frame.Payload(bytes.Repeat([]byte{0xff}, 801))
	const ok, stop = "lane", "checksum"
	var tests []laneTest
	for _, c := range []struct {
		name   string
		frame  []byte
		reason string
	}{
		{"UDP", udp4, ok},
		{"UDP over IPv6", udp6, ok},
		{"TCP", frame.TCP4(macB, macA), ok},
		{"TCP over IPv6", frame.TCP6(macB, macA), ok},
		{"UDP of odd length", frame.UDP4(macB, macA, long), ok},
		{"unfinished UDP", frame.UDP4(macB, macA, partial), stop},
		{"unfinished UDP over IPv6", udp6p, stop},
		{"unfinished TCP", frame.TCP4(macB, macA, partial), stop},
		{"unfinished TCP over IPv6", tcp6p, stop},
		{"unfinished UDP of odd length", frame.UDP4(macB, macA, long, partial), stop},
		{"unfinished TCP of odd length", frame.TCP6(macB, macA, long, partial), stop},
		{"tagged UDP", frame.UDP4(macB, macA, frame.OnVLAN(10)), ok},
		{"unfinished tagged UDP", frame.UDP4(macB, macA, partial, frame.OnVLAN(10)), stop},
		{"unfinished tagged TCP over IPv6", frame.TCP6(macB, macA, partial, frame.OnVLAN(10)), stop},
		{"IP options", frame.TCP4(macB, macA, frame.IPOptions(make([]byte, 40))), ok},
		{"unfinished with IP options", frame.TCP4(macB, macA, partial, frame.IPOptions(make([]byte, 40))), stop},
		{"padded", append(frame.UDP4(macB, macA), 0, 0, 0, 0), ok},
		{"unfinished and padded", append(frame.UDP4(macB, macA, partial), 0, 0, 0, 0), stop},
		{"hop-by-hop options", extended(udp6, protoHopByHop, 8), ok},
		{"unfinished behind hop-by-hop options", extended(udp6p, protoHopByHop, 8), stop},
		{"destination options", extended(udp6, protoDstOpts, 24), ok},
		{"unfinished behind destination options", extended(tcp6p, protoDstOpts, 24), stop},
		{"unfinished behind both", extended(extended(udp6p, protoDstOpts, 8), protoHopByHop, 16), stop},
		{"both", extended(extended(udp6, protoDstOpts, 8), protoHopByHop, 16), ok},
		{"large options", extended(udp6, protoDstOpts, 1024), ok},
		{"options above what the guard reads", extended(udp6, protoDstOpts, 1032), stop},
		{"six extension headers", extensions(udp6, 6), ok},
		{"unfinished behind six", extensions(udp6p, 6), stop},
		{"seven extension headers", extensions(udp6, 7), stop},
		{"extension header cut off", udp6[:54:54], "nd"},
		{"extension header behind the end", changed(extended(udp6, protoHopByHop, 8), 55, 200), stop},
		{"routing header", extended(udp6, protoRouting, 24), stop},
		{"IPv6 no next header", ip6(macB, macA, 59, make([]byte, 8)), stop},
		{"IPv4 first fragment", frame.UDP4(macB, macA, frame.Fragment(0, true)), stop},
		{"IPv4 later fragment", frame.UDP4(macB, macA, frame.Fragment(185, true)), stop},
		{"IPv4 last fragment", frame.UDP4(macB, macA, frame.Fragment(185, false)), stop},
		{"IPv6 first fragment", frame.UDP6(macB, macA, frame.Fragment(0, true)), stop},
		{"IPv6 last fragment", frame.TCP6(macB, macA, frame.Fragment(185, false)), stop},
		{"UDP without checksum", frame.UDP4(macB, macA, frame.NoChecksum()), stop},
		{"UDP over IPv6 without checksum", frame.UDP6(macB, macA, frame.NoChecksum()), stop},
		{"TCP whose checksum is 0", frame.TCP4(macB, macA, frame.NoChecksum()), ok},
		{"VXLAN", frame.UDP4(macB, macA, frame.Ports(4789, 50000)), stop},
		{"VXLAN on Linux's port", frame.UDP4(macB, macA, frame.Ports(8472, 50000)), stop},
		{"Geneve", frame.UDP6(macB, macA, frame.Ports(6081, 50000)), stop},
		{"from the VXLAN port", frame.UDP4(macB, macA, frame.Ports(53, 4789)), ok},
		{"TCP to the VXLAN port", frame.TCP4(macB, macA, frame.Ports(4789, 50000)), ok},
		{"SCTP", ip4(macB, macA, protoSCTP, make([]byte, 24)), stop},
		{"SCTP over IPv6", ip6(macB, macA, protoSCTP, make([]byte, 24)), stop},
		{"GRE", ip4(macB, macA, protoGRE, make([]byte, 24)), stop},
		{"IP in IP", ip4(macB, macA, protoIPIP, udp4[14:]), stop},
		{"ESP", ip4(macB, macA, protoESP, make([]byte, 24)), stop},
		{"ICMP", ip4(macB, macA, protoICMP, make([]byte, 24)), ok},
		{"ICMPv6 echo", icmp6(macB, macA, 128), ok},
		{"TCP header cut off", frame.TCP4(macB, macA)[:14+20+19], stop},
		{"TCP header whole", frame.TCP4(macB, macA)[:14+20+20], ok},
		{"UDP header cut off", udp4[:14+20+7], stop},
		{"UDP header whole", udp4[:14+20+8], ok},
		{"UDP over IPv6 header cut off", udp6[:14+40+7], stop},
		{"IPv4 header cut off", udp4[:14+19], stop},
		{"IPv4 options cut off", frame.UDP4(macB, macA, frame.IPOptions(make([]byte, 40)))[:14+50], stop},
		{"IPv4 header length below 20", changed(udp4, 14, 0x44), stop},
		{"IPv4 total length below the header", changed(udp4, 16, 0, 19), stop},
		{"IPv4 of version 6", changed(udp4, 14, 0x65), stop},
		{"IPv6 of version 4", changed(udp6, 14, 0x40), stop},
		{"IPv6 payload length below the options", changed(extended(udp6, protoHopByHop, 16), 18, 0, 15), stop},
	} {
		guarded := trunk().with(func(r *Rule) { r.Checksum = true })
		tests = append(tests, laneTest{name: "guard: " + c.name, in: guarded, frame: c.frame, reason: c.reason})
		if c.reason == stop {
			tests = append(tests, laneTest{name: "no guard: " + c.name, in: trunk(), frame: c.frame, reason: ok})
		}
	}
	for i := range tests {
		c := &tests[i]
		c.out, c.edit = trunk(), func(w *world) {
			w.rule(1, trunk().with(func(r *Rule) { r.MaxFrame = 9014 }))
			w.row(keyA, 0, true)
			w.row(keyB, 1, true)
		}
	}
	return tests
}

// extensions puts n extension headers into a frame.
func extensions(b []byte, n int) []byte {
	for range n {
		b = extended(b, protoDstOpts, 8)
	}
	return b
}

// A finished checksum never stops a frame, but for the two in 65536 that look
// unfinished, with the length and without; an unfinished one always does.
func TestRandomChecksums(t *testing.T) {
	w := newWorld(t, 2, Config{})
	rng := seeded(t)
	w.reset()
	w.port(0, access(10).with(func(r *Rule) { r.Checksum = true }))
	w.port(1, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	builders := []func(dst, src ovs.MAC, opts ...frame.Option) []byte{frame.UDP4, frame.UDP6, frame.TCP4, frame.TCP6}
	for n := range 3000 {
		payload := make([]byte, rng.IntN(400))
		for i := range payload {
			payload[i] = byte(rng.Uint32())
		}
		kind := rng.IntN(4)
		ip := func() netip.Addr {
			var a [16]byte
			for i := range a {
				a[i] = byte(rng.Uint32())
			}
			if kind%2 == 0 {
				return netip.AddrFrom4([4]byte(a[:4]))
			}
			return netip.AddrFrom16(a)
		}
		opts := []frame.Option{frame.Payload(payload), frame.IPs(ip(), ip()), frame.Ports(uint16(rng.IntN(4000)), uint16(rng.Uint32()))}
		finished := builders[kind](macB, macA, opts...)
		partial := builders[kind](macB, macA, append(opts, frame.PartialChecksum())...)
		want := uint32(xdpRedirect)
		if bytes.Equal(finished, partial) || bytes.Equal(finished, lengthless(partial)) {
			want = xdpPass
		}
		if v, _ := w.run(0, finished, 0); v != want {
			t.Errorf("frame %d: verdict of a finished checksum is %d, want %d\n% x", n, v, want, finished)
		}
		for _, b := range [][]byte{partial, lengthless(partial)} {
			if v, _ := w.run(0, b, 0); v != xdpPass {
				t.Errorf("frame %d: verdict of an unfinished checksum is %d\n% x", n, v, b)
			}
		}
	}
}

// A frame that is cut off anywhere passes, or is redirected whole.
func TestTruncated(t *testing.T) {
	w := newWorld(t, 2, Config{})
	tag := frame.OnVLAN(10)
	for name, whole := range map[string][]byte{
		"UDP":              frame.UDP4(macB, macA),
		"UDP tagged":       frame.UDP4(macB, macA, tag),
		"TCP options":      frame.TCP4(macB, macA, frame.IPOptions(make([]byte, 8))),
		"UDP over IPv6":    frame.UDP6(macB, macA),
		"TCP over IPv6":    frame.TCP6(macB, macA, tag),
		"ND":               frame.Retag(icmp6(macB, macA, 135), frame.Tag{VID: 10}),
		"extension header": extended(frame.UDP6(macB, macA), protoHopByHop, 8),
		"two tags":         frame.UDP4(macB, macA, frame.Tagged(frame.Tag{VID: 10}, frame.Tag{VID: 20})),
		"ARP":              frame.ARPReply(macB, macA, frame.IP4(macA), frame.IP4(macB)),
	} {
		t.Run(name, func(t *testing.T) {
			w := w.enter(t)
			for _, guard := range []bool{false, true} {
				w.reset()
				in := native(NativeTagged, 10).with(func(r *Rule) { r.Checksum = guard })
				w.port(0, in)
				w.port(1, access(10))
				w.row(keyA, 0, true)
				w.row(keyB, 1, true)
				for n := 14; n <= len(whole); n++ { // the kernel gives no program less
					b := whole[:n]
					before := w.counters(0)
					verdict, leaves := w.run(0, b, 0)
					after := w.counters(0)
					reason := truncatedReason(b, guard)
					want, wantFrame := uint32(xdpPass), b
					if reason == "lane" {
						f, _ := frame.Parse(b)
						want, wantFrame = xdpRedirect, f.Tagged().Bytes()
					}
					if after.Frames[reason] != before.Frames[reason]+1 {
						t.Errorf("%d bytes, guard %v: not counted as %q: %v", n, guard, reason, after.Frames)
					}
					if verdict != want || !bytes.Equal(leaves, wantFrame) {
						t.Errorf("%d bytes, guard %v: verdict %d and frame % x, want %d and % x", n, guard, verdict, leaves, want, wantFrame)
					}
					if got := after.LaneBytes + after.PassedBytes - before.LaneBytes - before.PassedBytes; got != uint64(n) {
						t.Errorf("%d bytes: counted as %d", n, got)
					}
				}
			}
		})
	}
}

// truncatedReason says what becomes of the first bytes of a frame of
// TestTruncated.
func truncatedReason(b []byte, guard bool) string {
	f, err := frame.Parse(b)
	switch {
	case len(b) >= 18 && len(f.Tags) > 1, err != nil && len(b) >= 18:
		return "odd-tag"
	case err != nil:
		return "runt"
	case f.EtherType == frame.TypeARP:
		return "not-ip"
	}
	l4 := 20
	if f.EtherType == frame.TypeIPv6 {
		if len(f.Payload) <= 40 || f.Payload[6] == protoICMPv6 {
			return "nd"
		}
		l4 = 40
	}
	if !guard {
		return "lane"
	}
	if len(f.Payload) < l4 {
		return "checksum"
	}
	proto := f.Payload[9]
	if l4 == 20 {
		l4 = int(f.Payload[0]&15) * 4
	} else {
		proto = f.Payload[6]
		if proto == protoHopByHop {
			if len(f.Payload) < 48 {
				return "checksum"
			}
			proto, l4 = f.Payload[40], 48
		}
	}
	need, ok := map[uint8]int{6: 20, 17: 8}[proto]
	if !ok {
		panic(fmt.Sprint("protocol ", proto))
	}
	if len(f.Payload) < l4+need {
		return "checksum"
	}
	return "lane"
}
