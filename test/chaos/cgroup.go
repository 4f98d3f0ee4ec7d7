// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// cgroup is a control group of our own with one controller, of either version.
type cgroup struct {
	dir string
	v2  bool
}

// errNoCgroup tells that this machine lends no such controller.
var errNoCgroup = errors.New("no control group")

// newCgroup makes a group for a controller, "cpu" or "memory".
func newCgroup(controller, name string) (*cgroup, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		g := &cgroup{dir: filepath.Join(f[1], name+"-"+controller), v2: f[2] == "cgroup2"}
		switch {
		case f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), controller):
		case g.v2:
			b, err := os.ReadFile(filepath.Join(f[1], "cgroup.controllers"))
			if err != nil || !slices.Contains(strings.Fields(string(b)), controller) {
				continue
			}
			if err := os.WriteFile(filepath.Join(f[1], "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
				continue
			}
		default:
			continue
		}
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			return nil, fmt.Errorf("make control group: %w", err)
		}
		return g, nil
	}
	return nil, fmt.Errorf("%w with the controller %s", errNoCgroup, controller)
}

func (g *cgroup) file(name string) string { return filepath.Join(g.dir, name) }

func (g *cgroup) set(file, value string) error {
	if err := os.WriteFile(g.file(file), []byte(value), 0); err != nil {
		return fmt.Errorf("set %s of a control group to %s: %w", file, value, err)
	}
	return nil
}

// limitCPU allows so many microseconds a second; 0 is no limit.
func (g *cgroup) limitCPU(microseconds int) error {
	quota := fmt.Sprint(microseconds)
	if g.v2 {
		if microseconds == 0 {
			quota = "max"
		}
		return g.set("cpu.max", quota+" 1000000")
	}
	if microseconds == 0 {
		quota = "-1"
	}
	return errors.Join(g.set("cpu.cfs_period_us", "1000000"), g.set("cpu.cfs_quota_us", quota))
}

// limitMemory lets the group have so many bytes more than it has.
func (g *cgroup) limitMemory(more int) error {
	now, limit := "memory.usage_in_bytes", "memory.limit_in_bytes"
	if g.v2 {
		now, limit = "memory.current", "memory.max"
	}
	b, err := os.ReadFile(g.file(now))
	if err != nil {
		return err
	}
	var used int
	if _, err := fmt.Sscan(string(b), &used); err != nil {
		return err
	}
	return g.set(limit, fmt.Sprint(used+more))
}

// kills counts the processes that the kernel has killed for want of memory.
func (g *cgroup) kills() (int, error) {
	name := "memory.oom_control"
	if g.v2 {
		name = "memory.events"
	}
	b, err := os.ReadFile(g.file(name))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			var n int
			_, err := fmt.Sscan(value, &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("read %s of a control group: no oom_kill in it", name)
}

// remove deletes the group, whose process must have ended.
func (g *cgroup) remove() error {
	return lab.Eventually(5*time.Second*lab.Patience(), func() error { return os.Remove(g.dir) })
}
