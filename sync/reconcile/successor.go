// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// successor is the process that takes over.
type successor struct {
	pid int
	// fd is its pidfd: of this process and no other that gets its pid. It was
	// alive when it called again after the pidfd was opened, so it is the one.
	fd  int
	dir string // where its pins are
	// taken tells that the tables are its, or about to be; revoked, that it may
	// no longer commit.
	taken, revoked bool

	dead      chan struct{} // closed when it has ended
	committed chan struct{} // closed when it is in charge
	over      chan struct{} // closed by us: it does not matter any more
}

func newSuccessor(pid int) (*successor, error) {
	if pid == 0 {
		return nil, errors.New("the process that asks can't be seen from this daemon's pid namespace")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	s := &successor{pid: pid, fd: fd, dead: make(chan struct{}), committed: make(chan struct{}), over: make(chan struct{})}
	go s.watch()
	return s, nil
}

// watch waits for its end.
func (s *successor) watch() {
	defer unix.Close(s.fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, 100)
		if n > 0 {
			close(s.dead)
			<-s.over
			return
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			time.Sleep(10 * time.Millisecond)
		}
		select {
		case <-s.over:
			return
		default:
		}
	}
}

// kill ends it, wherever it hangs.
func (s *successor) kill() error {
	err := unix.PidfdSendSignal(s.fd, unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
