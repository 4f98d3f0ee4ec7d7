// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SetLink sets a device up or down and gives it an MTU; 0 leaves the MTU.
func (n *Namespace) SetLink(name string, up bool, mtu int) error {
	link, err := n.links.LinkByName(name)
	if err == nil && mtu != 0 && link.Attrs().MTU != mtu {
		err = n.links.LinkSetMTU(link, mtu)
	}
	if err == nil && up {
		err = n.links.LinkSetUp(link)
	} else if err == nil {
		err = n.links.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("set %s in %s: %w", name, n.Name, err)
	}
	return nil
}

// ErrNothing tells that no frame is there now.
var ErrNothing = errors.New("no frame")

// TryRecv returns a frame that has reached the machine already, or ErrNothing.
func (p *Port) TryRecv() ([]byte, error) {
	var frame []byte
	var err error
	switch raw := p.raw.(type) {
	case *tap:
		frame, err = raw.tryRecv()
	case *packetSocket:
		frame, err = raw.tryRecv()
	default:
		err = errors.New("it is not a port for raw frames")
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EIO) { // EIO: the device is down
		return nil, ErrNothing
	}
	if err != nil {
		return nil, fmt.Errorf("receive at %s: %w", p.Name, err)
	}
	return frame, nil
}

func (t *tap) tryRecv() ([]byte, error) {
	var n int
	err := once(t.file, func(fd int) (err error) {
		n, err = unix.Read(fd, t.buf[:])
		return err
	})
	return append([]byte(nil), t.buf[:max(n, 0)]...), err
}

func (s *packetSocket) tryRecv() ([]byte, error) {
	var n, oobn int
	err := once(s.file, func(fd int) (err error) {
		n, oobn, _, _, err = unix.Recvmsg(fd, s.buf[:], s.oob[:], unix.MSG_DONTWAIT)
		return err
	})
	if errors.Is(err, unix.ENETDOWN) {
		return nil, unix.EAGAIN
	}
	if err != nil {
		return nil, err
	}
	return withTag(s.buf[:n], s.oob[:oobn])
}

// once calls read on the file's descriptor without waiting.
func once(f *os.File, read func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var readErr error
	if err := conn.Read(func(fd uintptr) bool { readErr = read(int(fd)); return true }); err != nil {
		return err
	}
	return readErr
}
