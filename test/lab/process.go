// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is a program that the Lab keeps running.
type Process struct {
	// Name is the program's name, PID its process id.
	Name string
	PID  int
	// Log is the file with its standard output and standard error.
	Log string

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
	kill sync.Once
}

// Start starts a program in the namespace n and returns at once; Close kills
// it if it still runs then.
func (l *Lab) Start(n *Namespace, path string, args ...string) (*Process, error) {
	return l.launch(n, exec.Command(path, args...))
}

// launch starts a command as Start does.
func (l *Lab) launch(n *Namespace, c *exec.Cmd) (*Process, error) {
	name := filepath.Base(c.Path)
	log, err := os.CreateTemp(l.Dir, name+"-*.out")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Env = l.environ()
	c.Stdout, c.Stderr = log, log
	if err := n.start(c); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, PID: c.Process.Pid, Log: log.Name(), cmd: c, done: make(chan struct{})}
	go func() {
		p.err = c.Wait()
		close(p.done)
	}()
	l.onClose(func() error { p.Kill(); return nil })
	return p, nil
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the process to end by itself and returns its error, which
// is nil for exit code 0.
func (p *Process) Wait(timeout time.Duration) error {
	if p.Ended() {
		return p.err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(timeout):
		return fmt.Errorf("wait for %s: still running after %v", p.Name, timeout)
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error {
	return p.cmd.Process.Signal(s)
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.kill.Do(func() {
		if !p.Ended() {
			_ = p.Signal(syscall.SIGKILL) // it may just have ended
		}
	})
	<-p.done
}

// Stop ends the process with SIGTERM and returns an error unless it exits
// with code 0 within the timeout.
func (p *Process) Stop(timeout time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	if err := p.Wait(timeout); err != nil {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	return nil
}

// Output returns what the process has written so far, at most the last lines.
func (p *Process) Output(lines int) string { return tail(p.Log, lines) }
