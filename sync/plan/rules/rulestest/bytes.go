// SPDX-License-Identifier: Apache-2.0

package rulestest

import "encoding/binary"

// Bytes returns a frame with these fields as it goes over a wire: 802.1Q where it
// has a tag, IPv6 with a fragment header where it is a fragment. What IP carries
// has a whole header, with no checksum, and 24 bytes more.
func (f *Frame) Bytes() []byte {
	var b []byte
	b = append(b, f.Dst[:]...)
	b = append(b, f.Src[:]...)
	if f.TCI != 0 {
		b = binary.BigEndian.AppendUint16(b, 0x8100)
		b = binary.BigEndian.AppendUint16(b, f.TCI&^tagPresent) // which is DEI there
	}
	b = binary.BigEndian.AppendUint16(b, f.EtherType)
	switch f.EtherType {
	case ipv4:
		return append(b, f.ipv4Bytes()...)
	case ipv6:
		return append(b, f.ipv6Bytes()...)
	}
	return append(b, make([]byte, 46)...)
}

const (
	moreFragments  = 0x2000 // IPv4
	fragmentOffset = 0x0010 // of a later fragment, in units of 8 bytes
)

func (f *Frame) ipv4Bytes() []byte {
	payload := f.payload(f.Proto)
	b := []byte{0x45, f.TOS}
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = append(b, 0, 1) // identification
	switch f.Frag {
	case anyFragment:
		b = binary.BigEndian.AppendUint16(b, moreFragments)
	case laterFragment:
		b = binary.BigEndian.AppendUint16(b, fragmentOffset)
	default:
		b = append(b, 0, 0)
	}
	b = append(b, f.TTL, f.Proto, 0, 0)
	b = append(b, f.IPSrc[:4]...)
	b = append(b, f.IPDst[:4]...)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return append(b, payload...)
}

func (f *Frame) ipv6Bytes() []byte {
	next, payload := f.Proto, f.payload(f.Proto)
	if f.Frag != 0 {
		header := []byte{f.Proto, 0, 0, 1, 0, 0, 0, 1} // more fragments
		if f.Frag == laterFragment {
			header = binary.BigEndian.AppendUint16([]byte{udp, 0}, fragmentOffset<<3)
			header = append(header, 0, 0, 0, 1)
		}
		next, payload = ipv6Fragment, append(header, payload...)
	}
	b := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(f.TOS)<<20)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, next, f.TTL)
	b = append(b, f.IPSrc[:]...)
	b = append(b, f.IPDst[:]...)
	return append(b, payload...)
}

// payload is what IP carries.
func (f *Frame) payload(proto uint8) []byte {
	const headers = 24
	b := make([]byte, 20+headers)
	if f.Frag == laterFragment {
		for i := range b {
			b[i] = 0xee // no header
		}
		return b
	}
	src, dst := f.TPSrc|f.HiddenSrc, f.TPDst|f.HiddenDst
	switch {
	case f.hasPorts():
		binary.BigEndian.PutUint16(b, src)
		binary.BigEndian.PutUint16(b[2:], dst)
	case f.isICMP():
		b[0], b[1] = byte(src), byte(dst)
	}
	switch proto {
	case tcp:
		binary.BigEndian.PutUint16(b[12:], 5<<12|f.TCPFlags)
	case udp:
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	}
	return b
}
