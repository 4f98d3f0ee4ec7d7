// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// readyEnv names the descriptor to which a daemon in the background writes a
// byte once it is in charge.
const readyEnv = "OVS_XDPD_READY_FD"

// detach starts the same daemon in the background and returns when it is in
// charge, or has failed.
func detach() error {
	fail := func(err error) error { return fmt.Errorf("go to the background: %w", err) }
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fail(errors.Join(err, w.Close()))
	}
	args := slices.DeleteFunc(slices.Clone(os.Args), func(a string) bool { return strings.HasPrefix(a, "--detach") })
	p, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
		Env:   append(os.Environ(), readyEnv+"=3"),
		Files: []*os.File{null, os.Stdout, os.Stderr, w},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err := errors.Join(err, null.Close(), w.Close()); err != nil {
		return fail(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err == nil {
		return p.Release()
	}
	state, err := p.Wait()
	if err != nil {
		return fail(err)
	}
	return fail(fmt.Errorf("the daemon has ended: %s", state))
}

// starter is who started this daemon and waits until it is in charge: the
// process in detach, and systemd. Either may be missing.
type starter struct {
	ready  *os.File
	notify string // the socket of sd_notify(3)
}

func whoStarted() starter {
	s := starter{notify: os.Getenv("NOTIFY_SOCKET")}
	if fd, err := strconv.Atoi(os.Getenv(readyEnv)); err == nil {
		syscall.CloseOnExec(fd)
		s.ready = os.NewFile(uintptr(fd), "ready")
	}
	return s
}

// tell tells them that this daemon is in charge. systemd takes it for the main
// process of the service from now on.
func (s starter) tell() error {
	var errs []error
	if s.notify != "" {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.notify, Net: "unixgram"})
		if err == nil {
			_, err = fmt.Fprintf(c, "MAINPID=%d\nREADY=1\n", os.Getpid())
			c.Close()
		}
		errs = append(errs, err)
	}
	if s.ready != nil {
		_, err := s.ready.Write([]byte{1})
		errs = append(errs, err, s.ready.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tell that the daemon is in charge: %w", err)
	}
	return nil
}
