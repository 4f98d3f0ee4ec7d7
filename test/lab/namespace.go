// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a named network namespace, visible in `ip netns`. One thread
// lives in it as long as it exists: functions and processes start from there.
// Nothing in it sends frames of its own accord: IPv6 is off.
type Namespace struct {
	// Name is the name for `ip netns exec`.
	Name string

	links *netlink.Handle
	fd    netns.NsHandle
	work  chan func()
	once  sync.Once
	err   error // of close
}

func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{Name: name, work: make(chan func())}
	made := make(chan error)
	onThread(func() {
		fd, err := netns.NewNamed(name)
		if err != nil {
			made <- fmt.Errorf("make network namespace %s: %w", name, err)
			return
		}
		n.fd = fd
		made <- nil
		for fn := range n.work {
			fn()
		}
	})
	if err := <-made; err != nil {
		return nil, err
	}
	if err := n.prepare(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// onThread runs fn in a goroutine with a thread of its own that dies when fn
// returns, and with it, by Pdeathsig, whatever fn started.
func onThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		// The main thread never dies, so it must not enter a namespace. Held
		// here, it cannot be given to the next goroutine.
		started := make(chan struct{})
		onThread(func() { close(started); fn() })
		<-started
		runtime.UnlockOSThread()
	}()
}

func (n *Namespace) prepare() error {
	var err error
	if n.links, err = netlink.NewHandleAt(n.fd); err != nil {
		return fmt.Errorf("open netlink in %s: %w", n.Name, err)
	}
	err = n.Do(func() error {
		for _, which := range []string{"all", "default"} {
			err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("turn IPv6 off in %s: %w", n.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.linkUp("lo")
}

// Do runs fn in a thread of the namespace and returns what fn returns. Calls
// run one after the other, so fn must neither wait for long nor call Do, Exec
// or Start of the same namespace.
func (n *Namespace) Do(fn func() error) error {
	done := make(chan error, 1)
	n.work <- func() { done <- fn() }
	return <-done
}

// Exec runs a program in the namespace, without standard input, and returns
// its standard output. The error of a program that fails has its standard
// error.
func (n *Namespace) Exec(ctx context.Context, name string, args ...string) (string, error) {
	return n.run(exec.CommandContext(ctx, name, args...))
}

func (n *Namespace) run(c *exec.Cmd) (string, error) {
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := n.start(c)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		text := strings.TrimSpace(errOut.String())
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, text)
	}
	return out.String(), nil
}

// start starts c in the namespace. The process has a group of its own, so a
// Ctrl-C at the terminal reaches only the program that made the Lab.
func (n *Namespace) start(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = new(syscall.SysProcAttr)
	}
	c.SysProcAttr.Pdeathsig, c.SysProcAttr.Setpgid = syscall.SIGKILL, true
	return n.Do(c.Start)
}

// linkUp sets a device up.
func (n *Namespace) linkUp(name string) error {
	link, err := n.links.LinkByName(name)
	if err == nil {
		err = n.links.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("set %s up in %s: %w", name, n.Name, err)
	}
	return nil
}

// Received returns how many frames a device has received (rx_packets).
func (n *Namespace) Received(device string) (uint64, error) {
	link, err := n.links.LinkByName(device)
	if err != nil {
		return 0, fmt.Errorf("read counters of %s in %s: %w", device, n.Name, err)
	}
	return link.Attrs().Statistics.RxPackets, nil
}

// deleteLink removes a device; one that is not there is no error.
func (n *Namespace) deleteLink(name string) error {
	link, err := n.links.LinkByName(name)
	if err == nil {
		err = n.links.LinkDel(link)
	}
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s in %s: %w", name, n.Name, err)
	}
	return nil
}

// close ends the thread and removes the namespace.
func (n *Namespace) close() error {
	n.once.Do(func() {
		close(n.work)
		if n.links != nil {
			n.links.Close()
		}
		n.err = errors.Join(n.fd.Close(), netns.DeleteNamed(n.Name))
	})
	return n.err
}
