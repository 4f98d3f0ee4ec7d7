// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// readRule reads a rule as archives write it: "table=1,priority=5,udp,tp_dst=53
// actions=drop". A list of actions with brackets is taken for one.
func readRule(text string) object {
	head, actions, _ := strings.Cut(text, "actions=")
	r := object{"Actions": []string{actions}}
	if !strings.Contains(actions, "(") {
		r["Actions"] = strings.Split(actions, ",")
	}
	var match []object
	for word := range strings.FieldsFuncSeq(head, func(c rune) bool { return c == ',' || c == ' ' }) {
		name, value, _ := strings.Cut(word, "=")
		key, ok := map[string]string{"table": "Table", "priority": "Priority", "idle_timeout": "IdleTimeout", "hard_timeout": "HardTimeout"}[name]
		if n, err := strconv.Atoi(value); ok && err == nil {
			r[key] = n
			continue
		}
		match = append(match, object{"Field": name, "Value": value})
	}
	if match != nil {
		r["Match"] = match
	}
	return r
}

// policyText tells of a port's lists, address and limits.
func policyText(r Rule) string {
	var b strings.Builder
	for _, k := range []struct {
		name string
		key  ListKey
	}{{"rules", r.Rules}, {"addresses", r.Addresses}} {
		if k.key != (ListKey{}) {
			fmt.Fprintf(&b, " %s=%d", k.name, k.key.Port)
		}
	}
	if r.Scoped {
		b.WriteString(" scoped")
	}
	if !r.MAC.IsZero() {
		fmt.Fprintf(&b, " mac=%s", r.MAC)
	}
	if p := r.PoliceBytes; p != (Rate{}) {
		fmt.Fprintf(&b, " police=%d/%d bytes", p.PerSecond, p.Burst)
	}
	if p := r.PoliceFrames; p != (Rate{}) {
		fmt.Fprintf(&b, " police=%d/%d frames", p.PerSecond, p.Burst)
	}
	return b.String()
}

// listText writes a list, one line a rule: its order, its verdict, what it
// matches, how often OVS must see it, and the OpenFlow rules that it comes of.
func listText(l List) string {
	var b strings.Builder
	fmt.Fprintf(&b, "list of %s\n", l.Key)
	for _, r := range l.Rules {
		fmt.Fprintf(&b, "    %d %s", r.Order, r.Verdict)
		if text := matchText(r.Match); text != "" {
			b.WriteString(" " + text)
		}
		if r.Idle != 0 {
			fmt.Fprintf(&b, " idle=%v", r.Idle)
		}
		for i, id := range r.Origins {
			b.WriteString([]string{" <- ", "; "}[min(i, 1)])
			b.WriteString(strings.TrimSpace(strings.TrimSuffix(string(id), "actions=")))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func matchText(m rules.Match) string {
	var words []string
	v, k := &m.Value, &m.Mask
	bits := func(name string, value, mask uint64, size int) {
		switch {
		case mask == 0:
		case mask == 1<<size-1:
			words = append(words, fmt.Sprintf("%s=%#x", name, value))
		default:
			words = append(words, fmt.Sprintf("%s=%#x/%#x", name, value, mask))
		}
	}
	mac := func(name string, value, mask ovs.MAC) {
		switch mask {
		case ovs.MAC{}:
		case ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
			words = append(words, fmt.Sprintf("%s=%s", name, value))
		default:
			words = append(words, fmt.Sprintf("%s=%s/%s", name, value, mask))
		}
	}
	ip := func(name string, value, mask [16]byte) {
		n := 0
		for n < 128 && mask[n/8]&(0x80>>(n%8)) != 0 {
			n++
		}
		addr := netip.AddrFrom16(value)
		if v.EtherType != typeIPv6 {
			addr = netip.AddrFrom4([4]byte(value[:4]))
		}
		switch {
		case mask == [16]byte{}:
		case len(bytes.TrimRight(mask[:], "\x00")) == (n+7)/8: // else it is no prefix
			words = append(words, fmt.Sprintf("%s=%s", name, netip.PrefixFrom(addr, n)))
		default:
			words = append(words, fmt.Sprintf("%s=%s/%x", name, addr, mask))
		}
	}
	mac("dl_src", v.Src, k.Src)
	mac("dl_dst", v.Dst, k.Dst)
	bits("tci", uint64(v.TCI), uint64(k.TCI), 16)
	bits("type", uint64(v.EtherType), uint64(k.EtherType), 16)
	ip("ip_src", v.IPSrc, k.IPSrc)
	ip("ip_dst", v.IPDst, k.IPDst)
	bits("proto", uint64(v.Proto), uint64(k.Proto), 8)
	bits("tos", uint64(v.TOS), uint64(k.TOS), 8)
	bits("ttl", uint64(v.TTL), uint64(k.TTL), 8)
	bits("frag", uint64(v.Frag), uint64(k.Frag), 8)
	bits("tp_src", uint64(v.TPSrc), uint64(k.TPSrc), 16)
	bits("tp_dst", uint64(v.TPDst), uint64(k.TPDst), 16)
	bits("tcp_flags", uint64(v.TCPFlags), uint64(k.TCPFlags), 16)
	return strings.Join(words, ",")
}

// carry sets a field of what a frame of frames.txt carries: ip_src and ip_dst, and
// the numbers type, proto, tos, ttl, frag, tp_src, tp_dst, tcp_flags.
func carry(f *ovs.Fields, name, value string) error {
	if name == "ip_src" || name == "ip_dst" {
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return err
		}
		if f.EtherType = typeIPv4; addr.Is6() {
			f.EtherType = typeIPv6
		}
		copy(map[string][]byte{"ip_src": f.IPSrc[:], "ip_dst": f.IPDst[:]}[name], addr.AsSlice())
		return nil
	}
	n, err := strconv.ParseUint(value, 0, 16)
	if err != nil {
		return err
	}
	switch name {
	case "type":
		f.EtherType = uint16(n)
	case "proto":
		f.Proto = uint8(n)
	case "tos":
		f.TOS = uint8(n)
	case "ttl":
		f.TTL = uint8(n)
	case "frag":
		f.Frag = uint8(n)
	case "tp_src":
		f.TPSrc = uint16(n)
	case "tp_dst":
		f.TPDst = uint16(n)
	case "tcp_flags":
		f.TCPFlags = uint16(n)
	default:
		return fmt.Errorf("unknown field %s", name)
	}
	return nil
}
