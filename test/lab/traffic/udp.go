// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// Datagrams hold a number, of 8 bytes, and a pseudo-random rest of any length
// that fits into one frame. The echo has every bit inverted.
const (
	numberLen   = 8
	maxDatagram = 1472
)

func invert(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

func answerUDP(c net.PacketConn) error {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		_, _ = c.WriteTo(invert(b[:n]), from) // the client misses it, and tells
	}
}

// talkUDP sends n datagrams, each when the echo of the one before has come. One
// that doesn't come in time is lost.
func talkUDP(address string, n uint64, wait time.Duration) error {
	c, err := net.Dial("udp4", address)
	if err != nil {
		return err
	}
	defer c.Close()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	echo := make([]byte, 1<<16)
	for i := range n {
		b := make([]byte, numberLen+random.IntN(maxDatagram-numberLen+1))
		switch i { // the shortest and the longest, in any case
		case 0:
			b = b[:numberLen]
		case 1:
			b = make([]byte, maxDatagram)
		}
		if _, err := io.ReadFull(stream(seed+i, uint64(len(b))), b); err != nil {
			return err
		}
		binary.BigEndian.PutUint64(b, i)
		if _, err := c.Write(b); err != nil {
			return fmt.Errorf("send datagram %d of %d bytes to %s: %w", i, len(b), address, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		got, err := c.Read(echo)
		if err != nil {
			return fmt.Errorf("wait for the echo of datagram %d of %d bytes from %s: %w", i, len(b), address, err)
		}
		if !bytes.Equal(echo[:got], invert(b)) {
			return fmt.Errorf("datagram %d of %d bytes: %s echoes another one, of %d bytes: % x", i, len(b), address, got, echo[:min(got, 40)])
		}
	}
	fmt.Printf("%d datagrams and their echoes\n", n)
	return nil
}
