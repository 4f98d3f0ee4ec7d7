// SPDX-License-Identifier: Apache-2.0

package detach

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Process is a process that holds programs of ovs-xdp.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
	// State is the letter of proc(5): T stopped by a signal, D in the kernel and
	// not to be killed now.
	State string `json:"state"`
	// Unit is the systemd service that the process belongs to, "" for none.
	Unit string `json:"unit"`
}

// findProcesses looks through this network namespace for processes that hold a
// link of one of the programs, or the program itself; daemon, if not 0, is one
// whatever it holds.
func findProcesses(programs map[uint32]*ebpf.ProgramInfo, daemon int) ([]Process, error) {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	found := []Process{}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if there, err := os.Readlink(dir + "/ns/net"); err != nil || there != here {
			continue
		}
		if pid == daemon || holds(dir, programs) {
			found = append(found, describe(dir, pid))
		}
	}
	slices.SortFunc(found, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return found, nil
}

// holds tells whether a process has a descriptor of one of the programs, or of a
// link of one (bpf_link_show_fdinfo, bpf_prog_show_fdinfo in
// kernel/bpf/syscall.c).
func holds(dir string, programs map[uint32]*ebpf.ProgramInfo) bool {
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return false
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil || !strings.HasPrefix(target, "anon_inode:bpf") {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(info)) {
			value, ok := strings.CutPrefix(line, "prog_id:")
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			if ok && err == nil && programs[uint32(id)] != nil {
				return true
			}
		}
	}
	return false
}

func describe(dir string, pid int) Process {
	p := Process{PID: pid, State: state(dir)}
	comm, _ := os.ReadFile(dir + "/comm")
	p.Name = strings.TrimSpace(string(comm))
	cgroup, _ := os.ReadFile(dir + "/cgroup")
	p.Unit = unit(string(cgroup))
	return p
}

// state is the third field of /proc/PID/stat; the second may have spaces.
func state(dir string) string {
	stat, _ := os.ReadFile(dir + "/stat")
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	if fields := bytes.Fields(rest); len(fields) > 0 {
		return string(fields[0])
	}
	return ""
}

// unit finds the service in the text of /proc/PID/cgroup.
func unit(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		for _, part := range strings.Split(strings.TrimSpace(line), "/") {
			if strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return ""
}

const (
	// politely is how long a process may take to detach by itself, and
	// forcibly how long the kernel may take to end one.
	politely = 5 * time.Second
	forcibly = 5 * time.Second
)

// end ends a process: politely, so that it restores what it has set, and then
// with SIGKILL. It tells whether that was needed.
func end(pid int) (killed bool, err error) {
	fail := func(err error) error { return fmt.Errorf("end process %d: %w%s", pid, err, hint(err)) }
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fail(err)
	}
	defer unix.Close(fd)
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGCONT} { // a stopped one does nothing without the second
		if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fail(err)
		}
	}
	if ended(fd, politely) {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return true, fail(err)
	}
	if !ended(fd, forcibly) {
		return true, fail(fmt.Errorf("it does not end on SIGKILL (state %s): the kernel holds it, see /proc/%d/stack and dmesg",
			state(fmt.Sprintf("/proc/%d", pid)), pid))
	}
	return true, nil
}

// ended waits for the end of a process: pidfds are readable then (pidfd_open(2)).
func ended(fd int, wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	for {
		left := time.Until(deadline)
		if left < 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}
