// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"os"
	"sync"
)

// cable connects two taps: what the kernel sends out of one comes in at the
// other.
type cable struct {
	near, far *tap
	pumps     sync.WaitGroup
}

func (c *cable) start() {
	c.pumps.Go(func() { pump(c.near, c.far) })
	c.pumps.Go(func() { pump(c.far, c.near) })
}

// pump copies frames until a tap is closed or its device deleted. A frame that
// the far side does not take (its device is down) is lost, as on a cable.
func pump(from, to *tap) {
	for {
		n, err := from.file.Read(from.buf[:])
		if err != nil {
			return
		}
		if _, err := to.file.Write(from.buf[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

func (c *cable) close() error {
	err := c.near.Close()
	if c.far != nil {
		err = errors.Join(err, c.far.Close())
	}
	c.pumps.Wait()
	return err
}
