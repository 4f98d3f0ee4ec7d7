// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// The client of a connection begins with a greeting and goes on with a stream
// of its seed; the server answers with the stream of the next seed, and last
// with the SHA-256 of the stream that it received.
type greeting struct{ Seed, Bytes uint64 }

// stream returns the first n bytes of the pseudo-random stream of a seed.
func stream(seed, n uint64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), int64(n))
}

// sum reads to the end and returns the SHA-256.
func sum(r io.Reader) ([]byte, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return h.Sum(nil), err
}

func answerTCP(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = answerConnection(c) // the client gets no end, and tells
		}()
	}
}

func answerConnection(c net.Conn) error {
	var g greeting
	if err := binary.Read(c, binary.BigEndian, &g); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, stream(g.Seed+1, g.Bytes))
		sent <- err
	}()
	got, err := sum(io.LimitReader(c, int64(g.Bytes)))
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	_, err = c.Write(got)
	return err
}

// talkTCP sends and receives n bytes at the same time.
func talkTCP(address string, n uint64) error {
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return err
	}
	defer c.Close()
	began, seed := time.Now(), rand.Uint64()
	if err := binary.Write(c, binary.BigEndian, greeting{seed, n}); err != nil {
		return fmt.Errorf("greet %s: %w", address, err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, stream(seed, n))
		sent <- err
	}()
	got, err := sum(io.LimitReader(c, int64(n)))
	if err := errors.Join(err, <-sent); err != nil {
		return fmt.Errorf("talk to %s: %w", address, err)
	}
	heard, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("read what %s received: %w", address, err)
	}
	if want, _ := sum(stream(seed+1, n)); !bytes.Equal(got, want) {
		return fmt.Errorf("talk to %s: it sent other bytes than came here", address)
	}
	if want, _ := sum(stream(seed, n)); !bytes.Equal(heard, want) {
		return fmt.Errorf("talk to %s: it received other bytes than were sent: SHA-256 %x, want %x", address, heard, want)
	}
	took := time.Since(began)
	again, err := retransmitted(c.(*net.TCPConn))
	if err != nil {
		return err
	}
	fmt.Printf("%d bytes each way at %.1f Mbit/s, %d segments sent again\n", n, float64(n)*8/1e6/took.Seconds(), again)
	return nil
}

// retransmitted returns how many segments this side sent more than once.
func retransmitted(c *net.TCPConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err = errors.Join(err, infoErr); err != nil {
		return 0, fmt.Errorf("read TCP_INFO: %w", err)
	}
	return info.Total_retrans, nil
}
