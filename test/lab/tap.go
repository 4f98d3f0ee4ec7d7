// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// TapsTakeMetadata tells whether XDP metadata can stand in front of the frames of
// a tap (Linux 6.15): then a program can't tell whether it runs on bare frames
// there, and finishes no checksums.
var TapsTakeMetadata = sync.OnceValue(func() bool {
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) == nil {
		_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	return major > 6 || major == 6 && minor >= 15
})

// AddTap makes a tap, held open by this process as QEMU would, and adds it to
// the bridge. A machine with an address lives in a namespace of its own; a
// pump copies frames between the tap and the machine's eth0, which is a tap
// as well. Without an address there is no namespace, only raw frames.
func (l *Lab) AddTap(bridge, name string, o PortOptions) (*Port, error) {
	p := l.newPort(bridge, name, o)
	p.Kind = "tap"
	err := func() error {
		near, err := openTap(l.Hypervisor, name, o.MTU, o.VirtioHeader)
		if err != nil {
			return err
		}
		if !o.Addr.IsValid() {
			p.raw = near
			return p.attach(o)
		}
		p.cable = &cable{near: near}
		if p.VM, err = l.addNamespace(name); err != nil {
			return err
		}
		if p.cable.far, err = openTap(p.VM, "eth0", o.MTU, o.VirtioHeader); err != nil {
			return err
		}
		p.cable.start()
		if err := p.VM.configure("eth0", p.MAC, o.Addr); err != nil {
			return err
		}
		return p.attach(o)
	}()
	if err != nil {
		return nil, fmt.Errorf("add tap port %s: %w", name, err)
	}
	return p, nil
}

// tap is an Endpoint on the file of a tap device.
type tap struct {
	file *os.File
	buf  [maxFrame + virtioHeader]byte
}

// virtioHeader is more than the length of struct virtio_net_hdr.
const virtioHeader = 64

// openTap makes a tap in a namespace. It goes when the tap is closed.
func openTap(n *Namespace, name string, mtu int, virtio bool) (*tap, error) {
	t := &tap{}
	err := n.Do(func() error {
		// Only a non-blocking write takes the kernel's short path, the one
		// where a program is native XDP.
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			flags := unix.IFF_TAP | unix.IFF_NO_PI
			if virtio {
				flags |= unix.IFF_VNET_HDR
			}
			req.SetUint16(uint16(flags))
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err == nil && virtio {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		t.file = os.NewFile(uintptr(fd), "tap "+name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make tap %s in %s: %w", name, n.Name, err)
	}
	if mtu != 0 {
		link, err := n.links.LinkByName(name)
		if err == nil {
			err = n.links.LinkSetMTU(link, mtu)
		}
		if err != nil {
			return nil, fmt.Errorf("make tap %s: %w", name, errors.Join(err, t.Close()))
		}
	}
	return t, nil
}

func (t *tap) Send(frame []byte) error {
	_, err := t.file.Write(frame)
	return err
}

func (t *tap) Recv(timeout time.Duration) ([]byte, error) {
	if err := t.file.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	n, err := t.file.Read(t.buf[:])
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), t.buf[:n]...), nil
}

func (t *tap) Close() error { return t.file.Close() }
