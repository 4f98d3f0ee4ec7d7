// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"testing"
	"time"
)

// An echo that is lost counts as the whole wait, one that comes late belongs to
// no other datagram, and what comes in time counts as it took.
func TestRoundTrips(t *testing.T) {
	const wait = 200 * time.Millisecond
	s, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		b := make([]byte, 1<<16)
		var late []byte
		for i := 0; ; i++ {
			n, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			if i == 2 {
				late = invert(b[:n])
				continue
			}
			if late != nil {
				_, _ = s.WriteTo(late, from)
				late = nil
				time.Sleep(wait / 4)
			}
			_, _ = s.WriteTo(invert(b[:n]), from)
		}
	}()
	times, err := roundTrips(s.LocalAddr().String(), 5, wait)
	if err != nil {
		t.Fatal(err)
	}
	if len(times) != 5 {
		t.Fatalf("%d round trips, want 5: %v", len(times), times)
	}
	if times[2] < wait {
		t.Errorf("the lost one took %v, less than %v", times[2], wait)
	}
	if times[3] < wait/4 {
		t.Errorf("the one after it took %v: the late echo was taken for its own", times[3])
	}
}
