// SPDX-License-Identifier: Apache-2.0

// Command traffic talks TCP and UDP between machines of a lab, and fails when
// anything of what was said is missing or different:
//
//	traffic serve :7                 # answers until it is killed
//	traffic tcp 10.9.0.2:7 1000000   # so many bytes, both ways at the same time
//	traffic udp 10.9.0.2:7 200 10s   # so many datagrams, each waits for its echo
//	traffic rtt 10.9.0.2:7 1000      # their round-trip times; a lost one takes a second
//
// It is linked statically: it also runs where there is nothing but a kernel.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

const usage = `usage: traffic serve ADDRESS
       traffic tcp ADDRESS BYTES
       traffic udp ADDRESS COUNT WAIT
       traffic rtt ADDRESS COUNT
`

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "tcp":
		n, err := strconv.ParseUint(args[2], 10, 32)
		if err != nil {
			return fmt.Errorf("read the number of bytes: %w", err)
		}
		return talkTCP(args[1], n)
	case len(args) == 4 && args[0] == "udp":
		n, err := strconv.ParseUint(args[2], 10, 32)
		if err != nil {
			return fmt.Errorf("read the number of datagrams: %w", err)
		}
		wait, err := time.ParseDuration(args[3])
		if err != nil {
			return fmt.Errorf("read the time to wait: %w", err)
		}
		return talkUDP(args[1], n, wait)
	case len(args) == 3 && args[0] == "rtt":
		n, err := strconv.ParseUint(args[2], 10, 32)
		if err != nil {
			return fmt.Errorf("read the number of datagrams: %w", err)
		}
		return printRoundTrips(args[1], n)
	}
	return errors.New("unknown command\n" + usage)
}

// serve answers TCP connections and UDP datagrams at an address.
func serve(address string) error {
	datagrams, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	connections, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	ended := make(chan error, 2)
	go func() { ended <- answerUDP(datagrams) }()
	go func() { ended <- answerTCP(connections) }()
	return <-ended
}
