// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
)

// read reads a match, as it stands before " actions=" in dump-flows.
func read(t *testing.T, text string) (Match, uint32, bool) {
	t.Helper()
	list, err := flow.Parse(" " + text + " actions=NORMAL\n")
	if err != nil {
		t.Fatal(err)
	}
	p, exact := readMatch(&list[0])
	port, hasPort := p.port()
	if !hasPort {
		port = 0
	}
	return p.match(), port, exact
}

func v4(a, b, c, d byte) [16]byte { return [16]byte{a, b, c, d} }

// TestMatch reads each field in each form in which OVS prints it.
func TestMatch(t *testing.T) {
	const all = 0xffff
	whole := ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	ip := func(proto uint8) Match {
		m := Match{Fields{EtherType: 0x0800}, Fields{EtherType: all}}
		if proto != 0 {
			m.Value.Proto, m.Mask.Proto = proto, 0xff
		}
		return m
	}
	ip6 := func(proto uint8) Match {
		m := ip(proto)
		m.Value.EtherType = 0x86dd
		return m
	}
	with := func(m Match, value, mask Fields) Match {
		q := m.pattern()
		p := newPattern(value, mask)
		p = q.and(&p)
		return p.match()
	}
	for _, tt := range []struct {
		text string
		want Match
		port uint32
	}{
		{"", Match{}, 0},
		{"eth", Match{}, 0},
		{"packet_type=(0,0)", Match{}, 0},
		{"in_port=7", Match{}, 7},
		{"in_port=65279", Match{}, 65279},
		{"in_port=LOCAL", Match{}, 0xfffffffe},
		{"in_port=CONTROLLER", Match{}, 0xfffffffd},
		{"dl_src=52:54:00:00:00:01", Match{Fields{Src: ovs.MAC{0x52, 0x54, 0, 0, 0, 1}}, Fields{Src: whole}}, 0},
		{"dl_dst=52:54:00:00:00:01", Match{Fields{Dst: ovs.MAC{0x52, 0x54, 0, 0, 0, 1}}, Fields{Dst: whole}}, 0},
		{"dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", Match{Fields{Dst: ovs.MAC{1}}, Fields{Dst: ovs.MAC{1}}}, 0},
		{"dl_src=52:54:00:00:00:00/ff:ff:ff:00:00:00", Match{Fields{Src: ovs.MAC{0x52, 0x54}}, Fields{Src: ovs.MAC{0xff, 0xff, 0xff}}}, 0},
		{"dl_vlan=10", Match{Fields{TCI: 0x100a}, Fields{TCI: 0x1fff}}, 0},
		{"dl_vlan=0", Match{Fields{TCI: 0x1000}, Fields{TCI: 0x1fff}}, 0},
		{"dl_vlan=4095", Match{Fields{TCI: 0x1fff}, Fields{TCI: 0x1fff}}, 0},
		{"dl_vlan=65535", Match{Fields{}, Fields{TCI: 0x1fff}}, 0},
		{"dl_vlan=0xffff", Match{Fields{}, Fields{TCI: 0x1fff}}, 0},
		{"dl_vlan_pcp=5", Match{Fields{TCI: 0xb000}, Fields{TCI: 0xf000}}, 0},
		{"dl_vlan=10,dl_vlan_pcp=3", Match{Fields{TCI: 0x700a}, Fields{TCI: 0xffff}}, 0},
		{"vlan_tci=0x0000", Match{Fields{}, Fields{TCI: 0xffff}}, 0},
		{"vlan_tci=0x0000/0x1fff", Match{Fields{}, Fields{TCI: 0x1fff}}, 0},
		{"vlan_tci=0x0000/0x0fff", Match{Fields{}, Fields{TCI: 0x0fff}}, 0},
		{"vlan_tci=0x1000/0x1000", Match{Fields{TCI: 0x1000}, Fields{TCI: 0x1000}}, 0},
		{"vlan_tci=0x5005/0xf0ff", Match{Fields{TCI: 0x5005}, Fields{TCI: 0xf0ff}}, 0},
		{"dl_type=0x88cc", Match{Fields{EtherType: 0x88cc}, Fields{EtherType: all}}, 0},
		{"dl_type=0x05ff", Match{Fields{EtherType: 0x05ff}, Fields{EtherType: all}}, 0},
		{"ip", ip(0), 0},
		{"ipv6", ip6(0), 0},
		{"arp", Match{Fields{EtherType: 0x0806}, Fields{EtherType: all}}, 0},
		{"rarp", Match{Fields{EtherType: 0x8035}, Fields{EtherType: all}}, 0},
		{"mpls", Match{Fields{EtherType: 0x8847}, Fields{EtherType: all}}, 0},
		{"mplsm", Match{Fields{EtherType: 0x8848}, Fields{EtherType: all}}, 0},
		{"icmp", ip(1), 0},
		{"igmp", ip(2), 0},
		{"tcp", ip(6), 0},
		{"udp", ip(17), 0},
		{"sctp", ip(132), 0},
		{"icmp6", ip6(58), 0},
		{"tcp6", ip6(6), 0},
		{"udp6", ip6(17), 0},
		{"sctp6", ip6(132), 0},
		{"ip,nw_proto=47", ip(47), 0},
		{"ipv6,nw_proto=44", ip6(44), 0},
		{"dl_type=0x0800,nw_proto=6,tp_dst=80", with(ip(6), Fields{TPDst: 80}, Fields{TPDst: all}), 0},
		{"tp_dst=80,nw_proto=6,dl_type=0x0800", with(ip(6), Fields{TPDst: 80}, Fields{TPDst: all}), 0},
		{"ip,nw_src=192.0.2.1", with(ip(0), Fields{IPSrc: v4(192, 0, 2, 1)}, Fields{IPSrc: v4(255, 255, 255, 255)}), 0},
		{"ip,nw_src=192.0.2.0/24", with(ip(0), Fields{IPSrc: v4(192, 0, 2, 0)}, Fields{IPSrc: v4(255, 255, 255, 0)}), 0},
		{"ip,nw_dst=10.0.0.0/9", with(ip(0), Fields{IPDst: v4(10, 0, 0, 0)}, Fields{IPDst: v4(255, 128, 0, 0)}), 0},
		{"ip,nw_dst=192.0.2.0/255.0.255.0", with(ip(0), Fields{IPDst: v4(192, 0, 2, 0)}, Fields{IPDst: v4(255, 0, 255, 0)}), 0},
		{"ip,nw_src=0.0.0.1/0.0.0.1", with(ip(0), Fields{IPSrc: v4(0, 0, 0, 1)}, Fields{IPSrc: v4(0, 0, 0, 1)}), 0},
		{"ipv6,ipv6_src=2001:db8::/32", with(ip6(0), Fields{IPSrc: [16]byte{0x20, 1, 0xd, 0xb8}}, Fields{IPSrc: [16]byte{255, 255, 255, 255}}), 0},
		{"ipv6,ipv6_src=fe80::1/ffff::ffff", with(ip6(0), Fields{IPSrc: [16]byte{0xfe, 0x80, 15: 1}}, Fields{IPSrc: [16]byte{255, 255, 14: 255, 15: 255}}), 0},
		{"ipv6,ipv6_dst=::/1", with(ip6(0), Fields{}, Fields{IPDst: [16]byte{0x80}}), 0},
		{"ipv6,ipv6_dst=::ffff:192.0.2.1/96", with(ip6(0), Fields{IPDst: [16]byte{10: 255, 11: 255}},
			Fields{IPDst: [16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}}), 0},
		{"ip,nw_tos=184", with(ip(0), Fields{TOS: 184}, Fields{TOS: 0xfc}), 0},
		{"ip,nw_ecn=2", with(ip(0), Fields{TOS: 2}, Fields{TOS: 3}), 0},
		{"ip,nw_tos=184,nw_ecn=2,nw_ttl=64", with(ip(0), Fields{TOS: 186, TTL: 64}, Fields{TOS: 0xff, TTL: 0xff}), 0},
		{"ipv6,nw_tos=4,nw_ttl=255", with(ip6(0), Fields{TOS: 4, TTL: 255}, Fields{TOS: 0xfc, TTL: 0xff}), 0},
		{"ip,nw_frag=no", with(ip(0), Fields{}, Fields{Frag: 3}), 0},
		{"ip,nw_frag=yes", with(ip(0), Fields{Frag: 1}, Fields{Frag: 1}), 0},
		{"ip,nw_frag=first", with(ip(0), Fields{Frag: 1}, Fields{Frag: 3}), 0},
		{"ip,nw_frag=later", with(ip(0), Fields{Frag: 3}, Fields{Frag: 3}), 0},
		{"ipv6,ip_frag=not_later", with(ip6(0), Fields{}, Fields{Frag: 2}), 0},
		{"tcp,tp_src=1024", with(ip(6), Fields{TPSrc: 1024}, Fields{TPSrc: all}), 0},
		{"tcp6,tp_src=0x1000/0xf000", with(ip6(6), Fields{TPSrc: 0x1000}, Fields{TPSrc: 0xf000}), 0},
		{"udp,tp_dst=53", with(ip(17), Fields{TPDst: 53}, Fields{TPDst: all}), 0},
		{"udp6,tp_dst=0x10/0xfff0", with(ip6(17), Fields{TPDst: 0x10}, Fields{TPDst: 0xfff0}), 0},
		{"sctp,tp_dst=2905", with(ip(132), Fields{TPDst: 2905}, Fields{TPDst: all}), 0},
		{"icmp,icmp_type=8,icmp_code=0", with(ip(1), Fields{TPSrc: 8}, Fields{TPSrc: all, TPDst: all}), 0},
		{"icmp6,icmp_type=135", with(ip6(58), Fields{TPSrc: 135}, Fields{TPSrc: all}), 0},
		{"tcp,tcp_flags=+syn-ack", with(ip(6), Fields{TCPFlags: 0x02}, Fields{TCPFlags: 0x12}), 0},
		{"tcp,tcp_flags=syn|ack", with(ip(6), Fields{TCPFlags: 0x12}, Fields{TCPFlags: 0xfff}), 0},
		{"tcp,tcp_flags=fin|syn|rst|psh|ack|urg|ece|cwr|ns|[200]|[400]|[800]", with(ip(6), Fields{TCPFlags: 0xfff}, Fields{TCPFlags: 0xfff}), 0},
		{"tcp,tcp_flags=0", with(ip(6), Fields{}, Fields{TCPFlags: 0xfff}), 0},
		{"tcp,tcp_flags=+syn+ack-ns-[200]-[400]+[800]", with(ip(6), Fields{TCPFlags: 0x812}, Fields{TCPFlags: 0xf12}), 0},
		{"tcp6,tcp_flags=0x012", with(ip6(6), Fields{TCPFlags: 0x12}, Fields{TCPFlags: 0xfff}), 0},
		{"tcp,tcp_flags=0x2/0x12", with(ip(6), Fields{TCPFlags: 2}, Fields{TCPFlags: 0x12}), 0},
		{"tcp,in_port=3,dl_vlan=10,nw_dst=192.0.2.1,tp_dst=22",
			with(ip(6), Fields{TCI: 0x100a, IPDst: v4(192, 0, 2, 1), TPDst: 22}, Fields{TCI: 0x1fff, IPDst: v4(255, 255, 255, 255), TPDst: all}), 3},
	} {
		got, port, exact := read(t, tt.text)
		if !exact {
			t.Errorf("%q is not exact", tt.text)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || port != tt.port {
			t.Errorf("%q: port %d, want %d; match (-want +got):\n%s", tt.text, port, tt.port, diff)
		}
	}
}

// TestMatchWidened: what is not understood is taken out of a match, and the rest
// stays.
func TestMatchWidened(t *testing.T) {
	for _, tt := range []struct{ text, like string }{
		// Fields that are not modelled.
		{"ct_state=+est-inv+trk,ct_zone=5,ct_mark=0x1/0x1,ct_label=0x1,tcp,tp_dst=80", "tcp,tp_dst=80"},
		{"reg0=0x1/0xff,metadata=0x5,pkt_mark=0x1,tun_id=0x64,tun_src=192.0.2.9,in_port=2", "in_port=2"},
		{"conj_id=7,ip,nw_src=192.0.2.1", "ip,nw_src=192.0.2.1"},
		{"recirc_id=0x1,actset_output=1,ip", "ip"},
		{"arp,arp_op=1,arp_spa=192.0.2.1,arp_tpa=192.0.2.0/25,arp_sha=52:54:00:00:00:01", "arp"},
		{"arp,nw_proto=1", "arp"},
		{"arp,nw_src=192.0.2.1", "arp"},
		{"icmp6,icmp_type=135,nd_target=2001:db8::1,nd_sll=52:54:00:00:00:01", "icmp6,icmp_type=135"},
		{"mpls,mpls_label=100,mpls_tc=3,mpls_bos=1", "mpls"},
		{"ipv6,ipv6_label=0x00005/0x000ff", "ipv6"},
		{"dl_type=0x894f,nsh_mdtype=1", "dl_type=0x894f"},
		{"packet_type=(1,0x800),nw_src=192.0.2.1", ""},
		{"dl_vlan=10,vlan_tci1=0x1005,dl_vlan1=5", "dl_vlan=10"},
		{"quic,in_port=1,Strange=2,x=", "in_port=1"},
		// Fields without what they depend on.
		{"nw_src=192.0.2.1", ""},
		{"dl_type=0x88cc,nw_src=192.0.2.1", "dl_type=0x88cc"},
		{"ipv6,nw_src=192.0.2.1", "ipv6"},
		{"ip,ipv6_src=2001:db8::1", "ip"},
		{"nw_proto=6", ""},
		{"nw_frag=first", ""},
		{"nw_ttl=1,nw_tos=4,nw_ecn=1", ""},
		{"ip,tp_dst=80", "ip"},
		{"ip,nw_proto=47,tp_dst=80", "ip,nw_proto=47"},
		{"igmp,igmp_type=1,tp_src=1", "igmp"},
		{"icmp,tp_src=8", "icmp"},
		{"tcp,icmp_type=8", "tcp"},
		{"ip,nw_proto=58,icmp_type=8", "ip,nw_proto=58"},
		{"ipv6,nw_proto=1,icmp_type=8", "ipv6,nw_proto=1"},
		{"udp,tcp_flags=+syn", "udp"},
		// Values that OVS does not print.
		{"in_port=eth0", ""},
		{"in_port=1/0x1", ""},
		{"in_port=65280", ""},
		{"in_port=ANY", ""},
		{"in_port=0x1", ""},
		{"in_port=-1", ""},
		{"dl_src=52:54:00:00:00", ""},
		{"dl_src=52:54:00:00:00:01/ff", ""},
		{"dl_vlan=4096", ""},
		{"dl_vlan=10/0xff", ""},
		{"dl_vlan_pcp=8", ""},
		{"vlan_tci=0x10000", ""},
		{"vlan_tci=0x1000/", ""},
		{"dl_type=ip", ""},
		{"dl_type=0x0800/0xff00", ""},
		{"ip,nw_src=192.0.2", "ip"},
		{"ip,nw_src=192.0.2.1/33", "ip"},
		{"ip,nw_src=192.0.2.1/::1", "ip"},
		{"ip,nw_src=::1", "ip"},
		{"ipv6,ipv6_src=192.0.2.1", "ipv6"},
		{"ipv6,ipv6_src=fe80::1%eth0", "ipv6"},
		{"ipv6,ipv6_src=::/129", "ipv6"},
		{"ip,nw_proto=256", "ip"},
		{"ip,nw_tos=3", "ip"},
		{"ip,nw_ecn=4", "ip"},
		{"ip,nw_ttl=64/0xf0", "ip"},
		{"ip,nw_frag=<error>", "ip"},
		{"tcp,tp_dst=65536", "tcp"},
		{"tcp,tp_dst=0x50/x", "tcp"},
		{"tcp,tp_dst=http", "tcp"},
		{"icmp,icmp_type=256", "icmp"},
		{"icmp,icmp_type=0x8/0xf", "icmp"},
		{"tcp,tcp_flags=+syn+syn", "tcp"},
		{"tcp,tcp_flags=+what", "tcp"},
		{"tcp,tcp_flags=+", "tcp"},
		{"tcp,tcp_flags=0x1002", "tcp"},
		// What contradicts itself matches nothing in OVS.
		{"tcp,udp", "tcp"},
		{"tcp,nw_proto=17", "tcp"},
		{"ip,dl_type=0x86dd", "ip"},
		{"vlan_tci=0x0000,dl_vlan=10", "vlan_tci=0x0000"},
	} {
		got, port, exact := read(t, tt.text)
		if exact {
			t.Errorf("%q is taken for exact", tt.text)
		}
		want, wantPort, _ := read(t, tt.like)
		if diff := cmp.Diff(want, got); diff != "" || port != wantPort {
			t.Errorf("%q is not like %q: port %d; match (-want +got):\n%s", tt.text, tt.like, port, diff)
		}
	}
}

func TestPackIsInvertible(t *testing.T) {
	var words bits
	for i := range words {
		for bit := range 64 {
			if i == 7 && bit >= 48 {
				continue // nothing
			}
			words[i] = 1 << bit
			f := words.fields()
			if back := pack(words.port(), &f); back != words {
				t.Errorf("word %d, bit %d: %x came back as %x", i, bit, words, back)
			}
			words[i] = 0
		}
	}
}
