// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Crowd is many ports of one bridge that cost little: taps, or veths whose far
// ends are in one namespace together. No machine is behind them, but frames can
// be sent as if there were.
type Crowd struct {
	// Kind is "tap" or "veth". Names are those of the devices in the hypervisor.
	Kind  string
	Names []string

	taps   []*tap
	socket int   // in the namespace of the far ends
	far    []int // ifindexes there
}

// AddCrowd adds n ports to a bridge, with these columns of their Port rows.
func (l *Lab) AddCrowd(bridge, kind string, n int, columns func(i int) []string) (*Crowd, error) {
	c := &Crowd{Kind: kind, socket: -1}
	err := c.make(l, n)
	l.onClose(c.close)
	if err != nil {
		return nil, fmt.Errorf("add %d %s ports: %w", n, kind, err)
	}
	const atOnce = 50
	for i := 0; i < n; i += atOnce {
		var args []string
		for j := i; j < min(i+atOnce, n); j++ {
			args = append(args, "--", "add-port", bridge, c.Names[j])
			args = append(args, columns(j)...)
		}
		if _, err := l.OVS(args[1:]...); err != nil {
			return nil, fmt.Errorf("add %d %s ports: %w", n, kind, err)
		}
	}
	return c, nil
}

func (c *Crowd) make(l *Lab, n int) error {
	if c.Kind == "tap" {
		for i := range n {
			name := fmt.Sprintf("tap%d", i)
			t, err := openTap(l.Hypervisor, name, 0, false)
			if err != nil {
				return err
			}
			c.Names, c.taps = append(c.Names, name), append(c.taps, t)
			if err := l.Hypervisor.linkUp(name); err != nil {
				return err
			}
		}
		return nil
	}
	guests, err := l.addNamespace("crowd")
	if err != nil {
		return err
	}
	for i := range n {
		name, far := fmt.Sprintf("veth%d", i), fmt.Sprintf("eth%d", i)
		if err := veth(l.Hypervisor, name, guests, far, 0); err != nil {
			return err
		}
		c.Names = append(c.Names, name)
		if err := guests.offloads(far, true, false); err != nil {
			return err
		}
		link, err := guests.links.LinkByName(far)
		if err != nil {
			return err
		}
		c.far = append(c.far, link.Attrs().Index)
		if err := errors.Join(guests.links.LinkSetARPOff(link), guests.linkUp(far), l.Hypervisor.linkUp(name)); err != nil {
			return err
		}
	}
	return guests.Do(func() error {
		// Protocol 0: it receives nothing.
		c.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
}

// Send sends a frame from the machine behind a port.
func (c *Crowd) Send(port int, frame []byte) error {
	if c.Kind == "tap" {
		return c.taps[port].Send(frame)
	}
	return unix.Sendto(c.socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: c.far[port]})
}

func (c *Crowd) close() error {
	var errs []error
	for _, t := range c.taps {
		errs = append(errs, t.Close())
	}
	if c.socket >= 0 {
		errs = append(errs, unix.Close(c.socket))
	}
	return errors.Join(errs...)
}
