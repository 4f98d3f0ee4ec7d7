// SPDX-License-Identifier: Apache-2.0

package ofctl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// startTimeout bounds the start of a monitor, killDelay the time that it has
// to end by itself.
const (
	startTimeout = 5 * time.Second
	killDelay    = 2 * time.Second
)

// Monitor is a running "ovs-ofctl monitor" of one bridge. It tells that
// OpenFlow rules were added, changed or removed, or that a port was added,
// removed, or changed its config or state. It says nothing of groups, meters
// and the fragment mode, and not what has changed: look again.
type Monitor struct {
	cmd     *exec.Cmd
	socket  string // of the child, for unixctl
	changed chan struct{}
	greeted chan string   // the first line on the child's standard output
	refused atomic.Bool   // OVS has answered with an error
	barrier chan struct{} // closed when OVS has come so far

	subscribed sync.Once // closes barrier
	done       chan struct{}
	closing    atomic.Bool
	err        error // valid when done is closed
}

// Monitor starts a monitor of a bridge. When it returns without an error,
// every change from now on makes a signal. The monitor ends with ctx.
func (c *Client) Monitor(ctx context.Context, bridge string) (*Monitor, error) {
	target, err := c.target(bridge)
	if err == nil {
		_, err = os.Stat(strings.TrimPrefix(target, "unix:"))
	}
	if err != nil {
		return nil, fmt.Errorf("monitor %s: %w", bridge, err)
	}
	var errs []error
	for _, s := range subscriptions {
		m, err := c.monitor(ctx, target, s)
		if err == nil {
			return m, nil
		}
		errs = append(errs, fmt.Errorf("with %s: %w", s.version, err))
		if ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			break
		}
	}
	return nil, fmt.Errorf("monitor %s: %w", bridge, errors.Join(errs...))
}

func (c *Client) monitor(life context.Context, target string, s subscription) (*Monitor, error) {
	ctx, cancel := context.WithTimeout(life, startTimeout)
	defer cancel()
	m := &Monitor{
		changed: make(chan struct{}, 1),
		greeted: make(chan string, 1),
		barrier: make(chan struct{}),
		done:    make(chan struct{}),
	}
	m.cmd = exec.Command(program, "--no-names", "-O", s.version, "monitor", target, "watch:!initial,!actions")
	m.cmd.Env = c.environment()
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go m.live(started)
	if err := <-started; err != nil {
		return nil, explain(err, nil)
	}
	m.socket = filepath.Join(c.rundir(), fmt.Sprintf("ovs-ofctl.%d.ctl", m.cmd.Process.Pid))
	if err := m.subscribe(ctx, s); err != nil {
		select {
		case <-m.done: // then it has said why
			err = m.err
		case <-time.After(100 * time.Millisecond):
		}
		m.Close()
		return nil, err
	}
	go func() {
		select {
		case <-life.Done():
			m.Close()
		case <-m.done:
		}
	}()
	return m, nil
}

// live starts the child and stays until it ends. The signal Pdeathsig comes
// when the thread that started the child dies, so this goroutine keeps its
// thread.
func (m *Monitor) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		started <- err
		return
	}
	stderr, err := m.cmd.StderrPipe()
	if err != nil {
		started <- err
		return
	}
	if err := m.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	var tail []byte
	var readers sync.WaitGroup
	readers.Go(func() { readLines(stdout, m.greet) })
	readers.Go(func() { readLines(stderr, func(line []byte) { tail = m.notice(tail, line) }) })
	readers.Wait()
	err = m.cmd.Wait()
	if !m.closing.Load() {
		if err == nil {
			err = errors.New("ended")
		}
		m.err = explain(err, tail)
	}
	close(m.done)
}

// readLines calls take for each line, or for the beginning of a long one.
func readLines(r io.Reader, take func(line []byte)) {
	lines := bufio.NewReader(r)
	for {
		line, prefix, err := lines.ReadLine()
		if err != nil {
			return
		}
		take(line)
		for prefix && err == nil {
			_, prefix, err = lines.ReadLine()
		}
	}
}

func (m *Monitor) greet(line []byte) {
	select {
	case m.greeted <- string(line):
	default:
	}
}

// notice takes a line that the child has printed about a message, or about an
// error of its own; it returns the last of the latter.
func (m *Monitor) notice(tail, line []byte) []byte {
	text := string(line)
	switch {
	case text == "" || text[0] == ' ':
		return tail // goes on about the line before
	case strings.HasPrefix(text, "send: "), strings.HasPrefix(text, "OFPT_ECHO_REQUEST "):
		return tail
	case strings.HasPrefix(text, "OFPT_BARRIER_REPLY "):
		m.subscribed.Do(func() { close(m.barrier) })
		return tail
	case strings.HasPrefix(text, "OFPT_ERROR "):
		m.refused.Store(true)
		return bytes.Clone(line)
	case !strings.Contains(text, "_FLOW_MONITOR ") && !strings.HasPrefix(text, "OFPT_") && !strings.HasPrefix(text, "NXT_"):
		return bytes.Clone(line)
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
	return tail
}

// subscribe waits until the child watches the rules, and then asks for port
// status.
func (m *Monitor) subscribe(ctx context.Context, s subscription) error {
	select {
	case line := <-m.greeted:
		if !strings.Contains(line, "_FLOW_MONITOR reply ") {
			return fmt.Errorf("ovs-ofctl printed %q", clip([]byte(line)))
		}
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("wait for ovs-ofctl: %w", ctx.Err())
	}
	for {
		if _, err := os.Stat(m.socket); err == nil {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-m.done:
			return m.err
		case <-ctx.Done():
			return fmt.Errorf("wait for the control socket of ovs-ofctl: %w", ctx.Err())
		}
	}
	child := unixctl.Client{Socket: m.socket}
	if _, err := child.Call(ctx, "ofctl/send", s.messages...); err != nil {
		return err
	}
	if _, err := child.Call(ctx, "ofctl/barrier"); err != nil {
		return err
	}
	select { // what OVS has said before it said this has then been read
	case <-m.barrier:
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the bridge: %w", ctx.Err())
	}
	if m.refused.Load() {
		return errors.New("the bridge refuses the subscription")
	}
	return nil
}

// Changed receives a value after every change; changes that come close
// together may make one.
func (m *Monitor) Changed() <-chan struct{} { return m.changed }

// Done is closed when the monitor has ended, with the bridge, with
// ovs-vswitchd or by Close.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// Err tells why the monitor ended; nil while it runs and after Close.
func (m *Monitor) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Close ends the child and waits until it has gone. It may be called again.
func (m *Monitor) Close() error {
	m.closing.Store(true)
	m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.done:
	case <-time.After(killDelay):
		m.cmd.Process.Kill()
		<-m.done
		os.Remove(m.socket)
	}
	return nil
}
