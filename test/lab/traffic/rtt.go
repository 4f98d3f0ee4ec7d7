// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"
)

// datagram is how many bytes roundTrips sends: a frame of 60.
const datagram = 18

// printRoundTrips prints round-trip times in nanoseconds as a JSON list.
func printRoundTrips(address string, n uint64) error {
	times, err := roundTrips(address, n, time.Second)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(times)
}

// roundTrips sends n datagrams, each when the echo of the one before has come or
// after a wait, which then counts as its time, and returns the round-trip times.
func roundTrips(address string, n uint64, wait time.Duration) ([]time.Duration, error) {
	c, err := net.Dial("udp4", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	out, in := make([]byte, datagram), make([]byte, datagram+1)
	times := make([]time.Duration, 0, n)
	for i := range n {
		for j := range 8 {
			out[j] = byte(i >> (8 * j))
		}
		began := time.Now()
		if _, err := c.Write(out); err != nil {
			return nil, fmt.Errorf("send datagram %d to %s: %w", i, address, err)
		}
		if err := c.SetReadDeadline(began.Add(wait)); err != nil {
			return nil, err
		}
		for {
			got, err := c.Read(in)
			if os.IsTimeout(err) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("wait for the echo of datagram %d from %s: %w", i, address, err)
			}
			if got == datagram && string(invert(in[:8])) == string(out[:8]) {
				break
			}
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
