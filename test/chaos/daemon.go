// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// daemon is an ovs-xdpd, and what was there before it.
type daemon struct {
	*lab.Process
	n       *network
	rundir  string
	devices map[string]string // settings before it started
}

// startDaemon starts ovs-xdpd with a run directory of its own choice, in the
// groups given, and waits for its control socket.
func (n *network) startDaemon(rundir string, groups []*cgroup, args ...string) (*daemon, error) {
	before, err := n.settings()
	if err != nil {
		return nil, err
	}
	bin, err := lab.Binaries()
	if err != nil {
		return nil, err
	}
	// The shell joins the groups, and becomes the daemon: same process.
	script := ""
	for _, g := range groups {
		script += "echo $$ > " + g.file("cgroup.procs") + " && "
	}
	script += `OVS_RUNDIR="$0" exec "$@"`
	p, err := n.Start(n.Hypervisor, "/bin/sh", append([]string{"-c", script, rundir, filepath.Join(bin, "ovs-xdpd")}, args...)...)
	if err != nil {
		return nil, err
	}
	d := &daemon{Process: p, n: n, rundir: rundir, devices: before}
	err = lab.Eventually(10*time.Second*lab.Patience(), func() error {
		if p.Ended() {
			return fmt.Errorf("ovs-xdpd ended: %w\n%s", p.Wait(0), p.Output(20))
		}
		_, err := d.ask("version")
		return err
	})
	return d, err
}

// ask runs a command on the daemon's control socket.
func (d *daemon) ask(command string, args ...string) (string, error) {
	socket, pid, err := unixctl.DaemonSocket(d.rundir, "ovs-xdpd")
	if err != nil {
		return "", err
	}
	if pid != d.PID {
		return "", fmt.Errorf("ask ovs-xdpd: its pidfile names process %d, not %d", pid, d.PID)
	}
	return (&unixctl.Client{Socket: socket}).Call(context.Background(), command, args...)
}

// settings reads what can be set of every device in the lab's namespaces: flags,
// MTU, XDP program, offloads.
func (n *network) settings() (map[string]string, error) {
	all := make(map[string]string)
	for _, p := range n.order {
		for where, at := range map[string]struct {
			ns     *lab.Namespace
			device string
		}{p.name: {n.Hypervisor, p.name}, p.name + "'s machine": {vm(p), "eth0"}} {
			if at.ns == nil {
				continue
			}
			link, err := at.ns.Exec(context.Background(), "ip", "-o", "link", "show", at.device)
			if err != nil {
				return nil, err
			}
			features, err := at.ns.Exec(context.Background(), "ethtool", "-k", at.device)
			if err != nil {
				return nil, err
			}
			all[where] = link + features
		}
	}
	return all, nil
}

func vm(p *place) *lab.Namespace {
	if p.port == nil {
		return nil
	}
	return p.port.VM
}

// objects are the kernel's ids of BPF objects that a process holds.
type objects struct{ programs, maps, links []uint32 }

// objectsOf reads them from the descriptors of a process (proc(5), fdinfo).
func objectsOf(pid int) (objects, error) {
	var o objects
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil || len(files) == 0 {
		return o, fmt.Errorf("read descriptors of process %d: %d found, error %v", pid, len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return o, err
		}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			if err != nil {
				continue
			}
			switch key {
			case "prog_id":
				o.programs = append(o.programs, uint32(id))
			case "map_id":
				o.maps = append(o.maps, uint32(id))
			case "link_id":
				o.links = append(o.links, uint32(id))
			}
		}
	}
	if len(o.programs) == 0 || len(o.maps) == 0 || len(o.links) == 0 {
		return o, fmt.Errorf("read BPF objects of process %d: %+v", pid, o)
	}
	return o, nil
}

// left tells which of them are still there. What is pinned is. Maps are not opened:
// an array of programs that is closed again while the kernel is clearing it stays for
// ever (prog_array_map_clear in kernel/bpf/arraymap.c).
func (o objects) left() error {
	var errs []error
	for _, id := range o.programs {
		if next, err := ebpf.ProgramGetNextID(ebpf.ProgramID(id - 1)); err == nil && next == ebpf.ProgramID(id) {
			errs = append(errs, fmt.Errorf("program %d is left", id))
		}
	}
	for _, id := range o.maps {
		if next, err := ebpf.MapGetNextID(ebpf.MapID(id - 1)); err == nil && next == ebpf.MapID(id) {
			errs = append(errs, fmt.Errorf("map %d is left", id))
		}
	}
	for _, id := range o.links {
		if l, err := link.NewFromID(link.ID(id)); err == nil {
			l.Close()
			errs = append(errs, fmt.Errorf("link %d is left", id))
		}
	}
	return errors.Join(errs...)
}

// leftovers waits until nothing of a dead daemon is left, and tells what is: BPF
// objects, XDP programs on devices, changed settings, processes.
func (d *daemon) leftovers(had objects) error {
	return lab.Eventually(10*time.Second*lab.Patience(), func() error {
		errs := []error{had.left()}
		programs, err := d.n.Hypervisor.XDPPrograms()
		if err == nil && len(programs) > 0 {
			err = fmt.Errorf("devices have XDP programs: %v", programs)
		}
		errs = append(errs, err)
		after, err := d.n.settings()
		errs = append(errs, err)
		for name, was := range d.devices {
			if after[name] != was {
				errs = append(errs, fmt.Errorf("settings of %s have changed:\n%s\nwere\n%s", name, after[name], was))
			}
		}
		return errors.Join(append(errs, d.children())...)
	})
}

// children finds processes that have the daemon's run directory in their
// environment and are none of Open vSwitch's daemons.
func (d *daemon) children() error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00OVS_RUNDIR="+d.rundir+"\x00")) {
			continue
		}
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue
		}
		switch name := strings.TrimSpace(string(comm)); name {
		case "ovsdb-server", "ovs-vswitchd", "ovs-vsctl":
		default:
			errs = append(errs, fmt.Errorf("process %s (%s) is left", filepath.Base(dir), name))
		}
	}
	return errors.Join(errs...)
}

// usage is what a process has used.
type usage struct {
	cpu     time.Duration
	peak    int // of resident memory, in KiB
	fds     int
	threads int
}

// used reads it (proc(5): stat, status, fd).
func (d *daemon) used() (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 18 {
		return u, fmt.Errorf("read usage of process %d: %q", d.PID, stat)
	}
	for _, s := range f[11:13] { // utime, stime, of which a second has 100
		n, err := strconv.Atoi(s)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	u.threads, _ = strconv.Atoi(f[17])
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			u.peak, _ = strconv.Atoi(strings.Fields(value)[0])
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID))
	u.fds = len(fds)
	return u, err
}
