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

// roundTrips sends n datagrams, each when the echo of the one before has come or
// after a second, and prints the round-trip times in nanoseconds as a JSON list.
func roundTrips(address string, n uint64) error {
	c, err := net.Dial("udp4", address)
	if err != nil {
		return err
	}
	defer c.Close()
	out, in := make([]byte, datagram), make([]byte, datagram+1)
	times := make([]int64, 0, n)
	for i := range n {
		for j := range 8 {
			out[j] = byte(i >> (8 * j))
		}
		began := time.Now()
		if _, err := c.Write(out); err != nil {
			return fmt.Errorf("send datagram %d to %s: %w", i, address, err)
		}
		if err := c.SetReadDeadline(began.Add(time.Second)); err != nil {
			return err
		}
		for {
			got, err := c.Read(in)
			if os.IsTimeout(err) {
				break // lost: a second
			}
			if err != nil {
				return fmt.Errorf("wait for the echo of datagram %d from %s: %w", i, address, err)
			}
			if got == datagram && string(invert(in[:8])) == string(out[:8]) {
				break
			}
		}
		times = append(times, time.Since(began).Nanoseconds())
	}
	return json.NewEncoder(os.Stdout).Encode(times)
}
