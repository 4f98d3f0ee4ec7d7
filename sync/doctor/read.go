// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Host says where facts come from.
type Host struct {
	// Rundir is OVS_RUNDIR, BPFFS where a bpffs is expected.
	Rundir, BPFFS string
	// Root is where /proc and /sys are; "" is "/".
	Root string
}

// Read reads the facts. What can't be read is told in Facts.Unread, or in the Error
// of its part.
func (h Host) Read(ctx context.Context) Facts {
	files := root(h.Root)
	f := Facts{Kernel: files.kernel(h.BPFFS), CPUs: files.cpus()}
	note := func(what string, err error) {
		if err != nil {
			f.Unread = append(f.Unread, what+": "+err.Error())
		}
	}
	links, err := readLinks()
	note("network devices", err)
	f.Daemon = h.daemon(ctx, files)
	snap, version, err := h.snapshot(ctx)
	f.OVS.Version = version
	if err != nil {
		f.OVS.Error = err.Error()
	} else {
		f.OVS.Bridges = bridges(snap, links, plan.Policy{SetNICOffloads: f.Daemon.SetNICOffloads, FinishChecksums: f.Daemon.FinishChecksums})
		f.Devices = devices(snap, links)
		for i := range f.Devices {
			files.device(&f.Devices[i])
		}
	}
	taps := make(map[string]bool)
	for _, d := range f.Devices {
		taps[d.Name] = true
	}
	for _, g := range files.guests() {
		g.NICs = slices.DeleteFunc(g.NICs, func(n NIC) bool { return !taps[n.Tap] })
		if len(g.NICs) > 0 {
			f.Guests = append(f.Guests, g)
		}
	}
	return f
}

// readLinks reads devices as the daemon does. Its own programs are nobody else's.
func readLinks() (map[string]plan.Link, error) {
	h, err := host.Open(func(id uint32) bool {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			return false
		}
		defer p.Close()
		info, err := p.Info()
		return err == nil && slices.Contains(bpf.XDPPrograms, info.Name)
	})
	if err != nil {
		return nil, err
	}
	links, err := h.Links()
	return links, errors.Join(err, h.Close())
}

// root is the folder with proc and sys.
type root string

func (r root) path(p string) string { return filepath.Join("/", string(r), p) }

// text reads a small file, "" when it is not there.
func (r root) text(p string) string {
	b, err := os.ReadFile(r.path(p))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (r root) kernel(mount string) Kernel {
	k := Kernel{Release: r.text("proc/sys/kernel/osrelease"), Mount: mount, Sysctls: make(map[string]string)}
	_, err := os.Stat(r.path("sys/kernel/btf/vmlinux"))
	k.BTF = err == nil
	for line := range strings.Lines(r.text("proc/self/mounts")) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[1] == mount && fields[2] == "bpf" {
			k.BPFFS = true
		}
	}
	// "none [integrity] confidentiality"
	if _, rest, ok := strings.Cut(r.text("sys/kernel/security/lockdown"), "["); ok {
		k.Lockdown, _, _ = strings.Cut(rest, "]")
	}
	for _, name := range []string{"net.core.bpf_jit_enable", "net.core.bpf_jit_harden", "kernel.bpf_stats_enabled"} {
		if value := r.text("proc/sys/" + strings.ReplaceAll(name, ".", "/")); value != "" {
			k.Sysctls[name] = value
		}
	}
	return k
}

// cpus counts those of "0-3,8", /sys/devices/system/cpu/online.
func (r root) cpus() int {
	n := 0
	for _, part := range strings.Split(r.text("sys/devices/system/cpu/online"), ",") {
		var from, to int
		switch got, _ := fmt.Sscanf(part, "%d-%d", &from, &to); got {
		case 1:
			n++
		case 2:
			n += to - from + 1
		}
	}
	return n
}

// device adds what sysfs and an ioctl say of a device. A sysfs of another network
// namespace says nothing.
func (r root) device(d *Device) {
	dir := "sys/class/net/" + d.Name + "/"
	if r.text(dir+"ifindex") != fmt.Sprint(d.IfIndex) {
		return
	}
	rx, _ := filepath.Glob(r.path(dir + "queues/rx-*"))
	tx, _ := filepath.Glob(r.path(dir + "queues/tx-*"))
	d.RXQueues, d.TXQueues = len(rx), len(tx)
	for _, queue := range rx {
		name := dir + "queues/" + filepath.Base(queue)
		d.RPS = d.RPS || strings.Trim(r.text(name+"/rps_cpus"), "0,") != ""
		d.RFS = d.RFS || strings.Trim(r.text(name+"/rps_flow_cnt"), "0") != ""
	}
	// "802.3ad 4"
	d.BondMode, _, _ = strings.Cut(r.text(dir+"bonding/mode"), " ")
	d.BondHash, _, _ = strings.Cut(r.text(dir+"bonding/xmit_hash_policy"), " ")
	d.Timestamps = stamps(d.Name)
}

// stamps tells whether a device stamps frames that it receives.
func stamps(device string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	config, err := unix.IoctlGetHwTstamp(fd, device)
	return err == nil && config.Rx_filter != unix.HWTSTAMP_FILTER_NONE
}
