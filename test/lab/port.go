// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Endpoint sends and receives frames, exactly the bytes that are on the
// cable: VLAN tags included, no frame check sequence.
type Endpoint interface {
	// Send sends one frame.
	Send(frame []byte) error
	// Recv returns the next frame, or an error that is
	// os.ErrDeadlineExceeded when none comes in time.
	Recv(timeout time.Duration) ([]byte, error)
	Close() error
}

// PortOptions says what a port and the machine behind it are like. The zero
// value is a machine for raw frames on a port that is a trunk of every VLAN.
type PortOptions struct {
	// MAC is the machine's address; zero takes Lab.NewMAC.
	MAC ovs.MAC
	// Addr is the machine's IPv4 address. Without one the machine is silent,
	// and the port's Send and Recv are the only way to use it.
	Addr netip.Prefix
	// MTU is the MTU of both ends; 0 leaves 1500.
	MTU int
	// Columns are settings of the Port row, as ovs-vsctl takes them
	// ("tag=10", "external_ids:xdp-offload=off"); Interface of its Interface
	// row.
	Columns, Interface []string
	// NoGRO leaves generic receive offload off at a veth's far end, where it
	// is what makes the end accept frames that XDP sends.
	NoGRO bool
	// TxChecksum leaves checksum offload on at a veth's far end, so that its
	// frames reach the hypervisor with unfinished checksums.
	TxChecksum bool
	// VirtioHeader puts a struct virtio_net_hdr in front of each frame of a tap
	// whose machine has an address, as QEMU does: checksums are left unfinished,
	// and what is to be segmented (TSO) goes as one frame, both ways.
	VirtioHeader bool
}

// Port is a port of a bridge with a machine behind it.
type Port struct {
	// Bridge and Name are the names in Open vSwitch; Name is also the device
	// in the hypervisor.
	Bridge, Name string
	// Kind is "veth", "tap" or a card's driver.
	Kind string
	// MAC and Addr are the machine's addresses.
	MAC  ovs.MAC
	Addr netip.Prefix
	// VM is the machine's namespace, with the device eth0 in it; nil for a
	// tap that is used for raw frames.
	VM *Namespace

	lab   *Lab
	raw   Endpoint     // nil when the machine has an address
	cable *cable       // of a tap whose machine has an address
	drop  func() error // closes both
}

func (l *Lab) newPort(bridge, name string, o PortOptions) *Port {
	p := &Port{Bridge: bridge, Name: name, MAC: o.MAC, Addr: o.Addr, lab: l}
	if p.MAC.IsZero() {
		p.MAC = l.NewMAC()
	}
	p.drop = sync.OnceValue(func() error {
		var errs []error
		if p.raw != nil {
			errs = append(errs, p.raw.Close())
		}
		if p.cable != nil {
			errs = append(errs, p.cable.close())
		}
		return errors.Join(errs...)
	})
	l.onClose(p.drop)
	return p
}

// attach adds the device to the bridge.
func (p *Port) attach(o PortOptions) error {
	if err := p.lab.Hypervisor.linkUp(p.Name); err != nil {
		return err
	}
	args := append([]string{"add-port", p.Bridge, p.Name}, o.Columns...)
	if len(o.Interface) > 0 {
		args = append(append(args, "--", "set", "interface", p.Name), o.Interface...)
	}
	if _, err := p.lab.OVS(args...); err != nil {
		return err
	}
	e, err := p.lab.OVS("get", "interface", p.Name, "error")
	if err == nil && e != "[]\n" {
		err = fmt.Errorf("add port %s: %s", p.Name, e)
	}
	return err
}

// Set changes columns of the Port row, as ovs-vsctl set does.
func (p *Port) Set(columns ...string) error {
	_, err := p.lab.OVS(append([]string{"set", "port", p.Name}, columns...)...)
	return err
}

// Send sends a frame from the machine.
func (p *Port) Send(frame []byte) error {
	if p.raw == nil {
		return fmt.Errorf("send from %s: it is not a port for raw frames", p.Name)
	}
	if err := p.raw.Send(frame); err != nil {
		return fmt.Errorf("send from %s: %w", p.Name, err)
	}
	return nil
}

// Recv returns the next frame that reaches the machine.
func (p *Port) Recv(timeout time.Duration) ([]byte, error) {
	if p.raw == nil {
		return nil, fmt.Errorf("receive at %s: it is not a port for raw frames", p.Name)
	}
	frame, err := p.raw.Recv(timeout)
	if err != nil {
		return nil, fmt.Errorf("receive at %s: %w", p.Name, err)
	}
	return frame, nil
}

// Drain returns all frames that reach the machine until none has come for
// the time quiet.
func (p *Port) Drain(quiet time.Duration) ([][]byte, error) {
	var frames [][]byte
	for {
		f, err := p.Recv(quiet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

// DeleteDevice removes the device, as if the VM had been destroyed without a
// word to Open vSwitch: the port stays in the database.
func (p *Port) DeleteDevice() error {
	return errors.Join(p.drop(), p.lab.Hypervisor.deleteLink(p.Name))
}

// Remove removes the port from Open vSwitch and then the device.
func (p *Port) Remove() error {
	_, err := p.lab.OVS("--if-exists", "del-port", p.Bridge, p.Name)
	return errors.Join(err, p.DeleteDevice())
}
