// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// guests finds the processes of QEMU, with the taps that they have open and the
// threads by which the kernel serves them.
func (r root) guests() []Guest {
	var guests []Guest
	for _, pid := range r.pids() {
		dir := fmt.Sprintf("proc/%d/", pid)
		cmdline, err := os.ReadFile(r.path(dir + "cmdline"))
		if err != nil {
			continue
		}
		g, ok := ParseQEMU(strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00"))
		if !ok {
			continue
		}
		g.PID, g.VhostCPUs = pid, r.vhosts(pid)
		for i := range g.NICs {
			if n := &g.NICs[i]; n.Tap == "" && len(n.Fds) > 0 {
				n.Tap = r.tapOf(pid, n.Fds[0])
			}
		}
		guests = append(guests, g)
	}
	return guests
}

func (r root) pids() []int {
	dirs, _ := filepath.Glob(r.path("proc/[0-9]*"))
	var pids []int
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// tapOf names the tap that a process has open (tun_chr_show_fdinfo in
// drivers/net/tun.c: "iff:\ttap0").
func (r root) tapOf(pid, fd int) string {
	for line := range strings.Lines(r.text(fmt.Sprintf("proc/%d/fdinfo/%d", pid, fd))) {
		if name, ok := strings.CutPrefix(line, "iff:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// vhosts finds the threads "vhost-PID" of a guest: kernel threads, or, since Linux
// 6.4, threads of QEMU.
func (r root) vhosts(guest int) map[int]string {
	name := fmt.Sprintf("vhost-%d", guest)
	found := make(map[int]string)
	note := func(dir string) {
		tid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || r.text(dir+"/comm") != name {
			return
		}
		for line := range strings.Lines(r.text(dir + "/status")) {
			if cpus, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
				found[tid] = strings.TrimSpace(cpus)
			}
		}
	}
	for _, pid := range r.pids() {
		note(fmt.Sprintf("proc/%d", pid))
	}
	tasks, _ := filepath.Glob(r.path(fmt.Sprintf("proc/%d/task/[0-9]*", guest)))
	for _, t := range tasks {
		note(fmt.Sprintf("proc/%d/task/%s", guest, filepath.Base(t)))
	}
	return found
}
