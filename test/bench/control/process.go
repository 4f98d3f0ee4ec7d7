// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is how many a second /proc/PID/stat counts (USER_HZ, on all architectures
// that Go knows).
const ticks = 100

// cpuTime is the time that a process, and the children that it has waited for, have
// run on a CPU (/proc/PID/stat, in steps of 10 ms).
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may hold anything; the state comes behind it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, last = 11, 14 // utime, stime, cutime, cstime
	if len(fields) <= last {
		return 0, fmt.Errorf("read CPU time of process %d: %q", pid, text)
	}
	var sum int64
	for _, f := range fields[utime : last+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// memory is what a process has in memory, in bytes.
type memory struct {
	// resident is all of it; own is without the pages of files and of maps that
	// are shared with the kernel; peak is the most that resident was.
	resident, own, peak int64
}

func memoryOf(pid int) (memory, error) {
	var m memory
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmRSS": &m.resident, "RssAnon": &m.own, "VmHWM": &m.peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.Fields(value + " x")[0], 10, 64)
		if err != nil {
			return m, fmt.Errorf("read memory of process %d: %q", pid, line)
		}
		*into = kib << 10
	}
	return m, nil
}

// load is the load average of the last minute: what else the machine does.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text) + " x")[0]
}
