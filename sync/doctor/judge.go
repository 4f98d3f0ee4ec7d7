// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// Judge says what of the facts matters.
func Judge(f Facts) Report {
	j := &judge{facts: f}
	j.kernel()
	j.sysctls()
	j.openvswitch()
	j.daemon()
	for _, b := range f.OVS.Bridges {
		j.bridge(b)
	}
	for _, d := range f.Devices {
		j.device(d)
	}
	for _, g := range f.Guests {
		j.guest(g)
	}
	for _, what := range f.Unread {
		j.add(Warning, "unread", "host", what, "what can't be read can't be judged", "run ovs-xdpctl doctor as root")
	}
	return newReport(j.findings)
}

type judge struct {
	facts    Facts
	findings []Finding
}

func (j *judge) add(level Level, check, object, found, why, mend string) {
	j.findings = append(j.findings, Finding{Check: check, Object: object, Level: level, Found: found, Why: why, Mend: mend})
}

func (j *judge) ok(check, object, format string, args ...any) {
	j.add(OK, check, object, fmt.Sprintf(format, args...), "", "")
}

// release reads "6.1.0-56-amd64" as 6, 1.
func release(s string) (major, minor int) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	digits := func(s string) int {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			s = s[:end]
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	return digits(parts[0]), digits(parts[1])
}

// since tells whether the kernel is of a version or later.
func (k Kernel) since(major, minor int) bool {
	a, b := release(k.Release)
	return a > major || a == major && b >= minor
}

func (j *judge) kernel() {
	k := j.facts.Kernel
	switch {
	case !k.since(5, 15):
		j.add(Problem, "kernel", "host", "Linux "+k.Release, "ovs-xdpd needs Linux 5.15: its programs do not load on earlier ones", "boot Linux 5.15 or later")
	case !k.since(6, 3):
		j.add(Note, "kernel", "host", "Linux "+k.Release,
			"before 6.3 the kernel does not say which devices have native XDP or take redirected frames: the daemon tries, and asks the other ends of veths (which needs CAP_SYS_ADMIN); jumbo frames stay with OVS", "")
	default:
		j.ok("kernel", "host", "Linux %s", k.Release)
	}
	if k.BTF {
		j.ok("btf", "host", "/sys/kernel/btf/vmlinux is there")
	} else {
		j.add(Warning, "btf", "host", "no /sys/kernel/btf/vmlinux", "without it the daemon can't see frames that are lost after a redirect", "boot a kernel with CONFIG_DEBUG_INFO_BTF=y")
	}
	if k.BPFFS {
		j.ok("bpffs", "host", "mounted at %s", k.Mount)
	} else {
		j.add(Warning, "bpffs", "host", "no bpffs at "+k.Mount, "a new daemon can't take over from the old one (systemctl reload, --takeover) without it", "mount -t bpf bpf "+k.Mount)
	}
	if k.Lockdown == "confidentiality" {
		j.add(Problem, "lockdown", "host", "the kernel is locked down for confidentiality", "BPF programs may not read kernel memory then, and those of ovs-xdpd on tracepoints do not load", "boot with lockdown=integrity, or none")
	}
}

func (j *judge) sysctls() {
	for _, s := range []struct {
		name      string
		bad       string
		level     Level
		why, want string
	}{
		{"net.core.bpf_jit_enable", "0", Warning, "programs are interpreted, several times slower", "1"},
		{"net.core.bpf_jit_harden", "2", Warning, "constants of all programs are blinded, and Linux can't bind programs to devices safely then: ports on veth stay with OVS unless their peers write VLAN tags into the frames", "1"},
		{"kernel.bpf_stats_enabled", "1", Warning, "the kernel takes the time of every run of a program: some 20 ns a frame", "0"},
	} {
		value, ok := j.facts.Kernel.Sysctls[s.name]
		switch {
		case !ok:
		case value == s.bad:
			j.add(s.level, "sysctl", s.name, "is "+value, s.why, "sysctl -w "+s.name+"="+s.want)
		default:
			j.ok("sysctl", s.name, "is %s", value)
		}
	}
}

func (j *judge) daemon() {
	d := j.facts.Daemon
	switch {
	case !d.Running:
		j.add(Warning, "daemon", "ovs-xdpd", "does not run", "every frame goes by OVS", "systemctl start ovs-xdpd")
	case d.Error != "":
		j.add(Problem, "daemon", "ovs-xdpd", d.Error, "a daemon that hangs has closed the lane, and its programs stay on the devices", "systemctl restart ovs-xdpd, or ovs-xdpctl detach --force")
	case d.Lane != "open":
		j.add(Problem, "daemon", "ovs-xdpd", "the lane is closed: "+d.Why, "every frame goes by OVS", "")
	default:
		j.ok("daemon", "ovs-xdpd", "%s runs, the lane is open", d.Version)
	}
	if d.LossesUnseen != "" {
		j.add(Warning, "losses", "ovs-xdpd", d.LossesUnseen, "frames that a device does not take after a redirect are lost, and nobody sees it: a device that refuses all of them is not closed", "")
	}
}
