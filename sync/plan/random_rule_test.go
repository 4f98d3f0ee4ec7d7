// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// station is an address that FDB entries and rules name.
func (r random) station() ovs.MAC { return ovs.MAC{0x52, 5: byte(r.IntN(6))} }

// rules makes rules around NORMAL, in three tables.
func (r random) rules() []ovs.Rule {
	var list []ovs.Rule
	for range 1 + r.IntN(10) {
		rule := ovs.Rule{Priority: uint16(1 + r.IntN(6)), Match: r.match()}
		if r.odds(4) {
			rule.Table = uint8(1 + r.IntN(2))
		}
		rule.Actions = []string{pick(r, "NORMAL", "NORMAL", "drop", "drop", "drop", "goto_table:1", "resubmit(,2)", "output:2", "NORMAL,output:1")}
		if r.odds(6) {
			rule.IdleTimeout = pick[uint16](r, 1, 30, 65535)
		}
		if r.odds(9) {
			rule.HardTimeout = 10
		}
		list = append(list, rule)
	}
	return list
}

// match makes what a rule matches: a part that names a port or a destination, as
// lists are made by that, and one of the rest.
func (r random) match() []ovs.Match {
	var list []ovs.Match
	add := func(field, value string) { list = append(list, ovs.Match{Field: field, Value: value}) }
	if r.odds(3) {
		add("in_port", fmt.Sprint(r.IntN(7)))
	}
	if r.odds(3) {
		add("dl_dst", r.station().String())
	}
	switch r.IntN(8) {
	case 0:
		add("tcp", "")
		add("tp_dst", fmt.Sprint(r.IntN(4)))
	case 1:
		add("udp", "")
		add("nw_src", fmt.Sprintf("10.0.%d.0/24", r.IntN(3)))
	case 2:
		add("ipv6", "")
		add("ipv6_dst", "2001:db8::/32")
	case 3:
		add("dl_src", r.station().String())
	case 4:
		add("dl_vlan", pick(r, "10", "20"))
	case 5:
		add(pick(r, "ct_state", "reg0", "udp", "arp"), pick(r, "", "0x1"))
	}
	return list
}

// carried is what a frame carries of what those rules match.
func (r random) carried() ovs.Fields {
	f := ovs.Fields{Dst: r.station(), Src: r.station(), EtherType: pick[uint16](r, typeIPv4, typeIPv4, typeIPv6, typeARP),
		Proto: pick[uint8](r, 6, 17), TPDst: uint16(r.IntN(4)), TCI: pick[uint16](r, 0, 10|ovs.TagPresent, 20|ovs.TagPresent)}
	copy(f.IPSrc[:], []byte{10, 0, byte(r.IntN(3)), 1})
	copy(f.IPDst[:], netip.MustParseAddr(pick(r, "2001:db8::1", "2001:db9::1")).AsSlice())
	return f
}

// addresses returns external_ids of an interface with any of the keys that tell a
// VM's addresses.
func (r random) addresses() map[string]string {
	ids := make(map[string]string)
	if r.calm && !r.odds(3) {
		return ids
	}
	if r.odds(7) {
		ids[KeyAttachedMAC] = r.station().String()
	}
	if r.odds(7) {
		ids[KeyAddresses] = pick(r, "10.0.0.1", "10.0.0.0/24,2001:db8::1", "10.0.0.1 10.0.0.1")
	}
	if r.odds(7) {
		ids[KeyValidate] = pick(r, "drop", "pass", "")
	}
	if r.odds(12) {
		ids[pick(r, KeyAddresses, KeyValidate, KeyAttachedMAC)] = pick(r, "", ",", "x", "01:00:5e:00:00:01")
	}
	return ids
}

func (r random) policing() ovs.Policing {
	if !r.odds(6) {
		return ovs.Policing{}
	}
	return ovs.Policing{Rate: r.IntN(3) * 1000, Burst: r.IntN(2) * 100, PacketRate: r.IntN(2), PacketBurst: r.IntN(2)}
}

// seeded makes random inputs that a seed repeats.
func seeded(seed uint64, n int) random {
	return random{rand.New(rand.NewPCG(seed, uint64(n))), n%3 > 0}
}
