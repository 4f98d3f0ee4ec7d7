// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

var (
	macA = ovs.MAC{0x52, 0x54, 0, 0xff, 0xee, 0x01}
	macB = ovs.MAC{0x52, 0x54, 0, 0, 0, 0x02}
)

// Every frame is what an independent implementation makes of its own parse.
func TestAgainstGopacket(t *testing.T) {
	odd := Payload([]byte("odd payload!!"))
	for name, b := range map[string][]byte{
		"udp4":           UDP4(macA, macB),
		"udp4 odd":       UDP4(macA, macB, odd),
		"udp4 tagged":    UDP4(macA, macB, Tagged(Tag{VID: 4094, PCP: 5, DEI: true})),
		"udp4 qinq":      UDP4(macA, macB, Tagged(Tag{TPID: TypeQinQ, VID: 100}, Tag{VID: 10})),
		"udp4 long":      UDP4(macA, macB, Length(1514)),
		"udp4 addresses": UDP4(macA, macB, IPs(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")), Ports(5000, 1234)),
		"udp6":           UDP6(macA, macB),
		"udp6 odd":       UDP6(macA, macB, odd, OnVLAN(10)),
		"tcp4":           TCP4(macA, macB, odd),
		"tcp4 options":   TCP4(macA, macB, IPOptions([]byte{7, 4, 4, 0})),
		"tcp6":           TCP6(macA, macB, OnVLAN(20)),
		"arp request":    ARPRequest(macA, IP4(macA), IP4(macB), Tag{VID: 10}),
		"arp reply":      ARPReply(macB, macA, IP4(macA), IP4(macB)),
	} {
		t.Run(name, func(t *testing.T) {
			p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
			if e := p.ErrorLayer(); e != nil {
				t.Fatalf("does not parse: %v", e.Error())
			}
			var ls []gopacket.SerializableLayer
			var network gopacket.NetworkLayer
			for _, l := range p.Layers() {
				if n, ok := l.(gopacket.NetworkLayer); ok {
					network = n
				}
				if c, ok := l.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					if err := c.SetNetworkLayerForChecksum(network); err != nil {
						t.Fatal(err)
					}
				}
				if d, ok := l.(*layers.Dot1Q); ok && d.Type == layers.EthernetTypeQinQ {
					t.Fatalf("inner tag is 802.1ad")
				}
				ls = append(ls, l.(gopacket.SerializableLayer))
			}
			buf := gopacket.NewSerializeBuffer()
			opts := gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}
			if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
				t.Fatal(err)
			}
			want := buf.Bytes()
			if len(b) < 60 {
				want = want[:len(b)] // gopacket pads short frames
			}
			if d := cmp.Diff(want, b); d != "" {
				t.Errorf("bytes (-gopacket +ours):\n%s", d)
			}
		})
	}
}

func TestLengths(t *testing.T) {
	if n := len(UDP4(macA, macB)); n != 60 {
		t.Errorf("UDP4 without options has %d bytes, want 60", n)
	}
	for _, n := range []int{64, 65, 1514, 9014} {
		for _, tags := range [][]Tag{nil, {{VID: 10}}, {{TPID: TypeQinQ, VID: 5}, {VID: 10}}} {
			if got := len(TCP6(macA, macB, Tagged(tags...), Length(n+60))); got != n+60 {
				t.Errorf("Length(%d) with %d tags: %d bytes", n+60, len(tags), got)
			}
		}
	}
}

func TestChecksumKinds(t *testing.T) {
	const at = 14 + 20 + 6
	partial := UDP4(macA, macB, PartialChecksum())
	finished := append([]byte(nil), partial...)
	// What a device does with CHECKSUM_PARTIAL: sum over the datagram, seed
	// included, complemented into the field.
	binary.BigEndian.PutUint16(finished[at:], ^sum(0, finished[14+20:]))
	if !bytes.Equal(finished, UDP4(macA, macB)) {
		t.Errorf("a finished partial checksum is not the right one")
	}
	if c := UDP4(macA, macB, NoChecksum())[at:][:2]; !bytes.Equal(c, []byte{0, 0}) {
		t.Errorf("NoChecksum: field is % x", c)
	}
}

func TestFragments(t *testing.T) {
	for _, c := range []struct {
		offset uint16
		more   bool
		want4  uint16
		want6  uint16
	}{{0, true, 0x2000, 0x0001}, {185, true, 0x20b9, 0x05c9}, {185, false, 0x00b9, 0x05c8}} {
		four, six := UDP4(macA, macB, Fragment(c.offset, c.more)), UDP6(macA, macB, Fragment(c.offset, c.more))
		if got := binary.BigEndian.Uint16(four[14+6:]); got != c.want4 {
			t.Errorf("IPv4 fragment field %#04x, want %#04x", got, c.want4)
		}
		if four, six := four[14+9], six[14+6]; four != protoUDP || six != protoFrag {
			t.Errorf("next headers %d and %d", four, six)
		}
		if got := binary.BigEndian.Uint16(six[14+40+2:]); got != c.want6 {
			t.Errorf("IPv6 fragment field %#04x, want %#04x", got, c.want6)
		}
		if sum(0, four[14:34]) != 0xffff {
			t.Errorf("IPv4 header checksum is wrong")
		}
	}
}

func TestParse(t *testing.T) {
	f := Frame{Dst: macA, Src: macB, EtherType: TypeLLDP, Payload: []byte("payload"),
		Tags: []Tag{{TPID: TypeQinQ, VID: 100, PCP: 7, DEI: true}, {TPID: TypeVLAN, VID: 10, PCP: 1}}}
	got, err := Parse(f.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, got); d != "" {
		t.Errorf("Parse(Bytes) (-want +got):\n%s", d)
	}
	const line = "52:54:00:00:00:02 > 52:54:00:ff:ee:01 vlan 100 pcp 7 dei tpid 0x88a8 vlan 10 pcp 1 type 0x88cc, 7 bytes of payload"
	if got.String() != line {
		t.Errorf("String: %s", got)
	}
	for n := range f.Bytes() {
		if _, err := Parse(f.Bytes()[:n]); (err == nil) != (n >= 22) {
			t.Errorf("Parse of %d bytes: error %v", n, err)
		}
	}
	if got := Retag(UDP4(macA, macB), Tag{VID: 7}); !bytes.Equal(got, UDP4(macA, macB, OnVLAN(7))) {
		t.Errorf("Retag adds: % x", got)
	}
	if got := Retag(UDP4(macA, macB, OnVLAN(7))); !bytes.Equal(got, UDP4(macA, macB)) {
		t.Errorf("Retag removes: % x", got)
	}
}
