// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// bits is an in_port and Fields as words, which are quicker to compare:
//
//	0  Dst, EtherType        4  IPDst
//	1  Src, TCI              6  Proto, TOS, TTL, Frag, TPSrc, TPDst
//	2  IPSrc                 7  TCPFlags, in_port
type bits [8]uint64

func pack(port uint32, f *Fields) bits {
	return bits{
		mac(f.Dst) | uint64(f.EtherType),
		mac(f.Src) | uint64(f.TCI),
		binary.BigEndian.Uint64(f.IPSrc[:]), binary.BigEndian.Uint64(f.IPSrc[8:]),
		binary.BigEndian.Uint64(f.IPDst[:]), binary.BigEndian.Uint64(f.IPDst[8:]),
		uint64(f.Proto)<<56 | uint64(f.TOS)<<48 | uint64(f.TTL)<<40 | uint64(f.Frag)<<32 | uint64(f.TPSrc)<<16 | uint64(f.TPDst),
		uint64(f.TCPFlags)<<32 | uint64(port),
	}
}

func mac(m ovs.MAC) uint64 {
	return uint64(binary.BigEndian.Uint16(m[:]))<<48 | uint64(binary.BigEndian.Uint32(m[2:]))<<16
}

func (b *bits) fields() Fields {
	f := Fields{
		Dst: b.dst(), EtherType: uint16(b[0]), TCI: uint16(b[1]),
		Proto: uint8(b[6] >> 56), TOS: uint8(b[6] >> 48), TTL: uint8(b[6] >> 40), Frag: uint8(b[6] >> 32),
		TPSrc: uint16(b[6] >> 16), TPDst: uint16(b[6]), TCPFlags: uint16(b[7] >> 32),
	}
	binary.BigEndian.PutUint16(f.Src[:], uint16(b[1]>>48))
	binary.BigEndian.PutUint32(f.Src[2:], uint32(b[1]>>16))
	binary.BigEndian.PutUint64(f.IPSrc[:], b[2])
	binary.BigEndian.PutUint64(f.IPSrc[8:], b[3])
	binary.BigEndian.PutUint64(f.IPDst[:], b[4])
	binary.BigEndian.PutUint64(f.IPDst[8:], b[5])
	return f
}

func (b *bits) dst() (m ovs.MAC) {
	binary.BigEndian.PutUint16(m[:], uint16(b[0]>>48))
	binary.BigEndian.PutUint32(m[2:], uint32(b[0]>>16))
	return m
}

func (b *bits) port() uint32 { return uint32(b[7]) }
