// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// senders are the offloads by which a guest leaves work on its frames to the host,
// as QEMU calls them.
var senders = []string{"host_tso4", "host_tso6", "host_ecn", "host_ufo"}

func (j *judge) guest(g Guest) {
	before := len(j.findings)
	object := fmt.Sprintf("guest %s (pid %d)", cmp.Or(g.Name, "without a name"), g.PID)
	if major, minor, ok := machineVersion(g.Machine); ok && (major < 2 || major == 2 && minor < 7) {
		j.add(Warning, "machine-type", object, "machine type "+g.Machine, "the network cards of so old a machine are not virtio 1.0, and lack what XDP in the guest needs",
			"<type arch='x86_64' machine='pc-q35-7.2'>hvm</type> in libvirt, and restart the guest")
	}
	for _, n := range g.NICs {
		j.nic(g, n, object+" "+n.Tap)
	}
	j.vhost(g, object)
	if len(j.findings) == before {
		j.ok("guest", object, "machine type %s, %d vCPUs, nothing in the way", g.Machine, g.VCPUs)
	}
}

func (j *judge) nic(g Guest, n NIC, object string) {
	if !n.Off["csum"] && !j.facts.Daemon.FinishChecksums {
		j.add(Warning, "guest-checksum", object, "the guest leaves checksums to the host (csum=on)", "a frame whose checksum is not finished would arrive corrupt after a redirect, so it goes by OVS",
			"ovs-xdpd --finish-checksums, or <driver name='vhost'><host csum='off'/></driver> in libvirt (csum=off in QEMU)")
	}
	var on []string
	for _, o := range senders {
		if !n.Off[o] {
			on = append(on, o)
		}
	}
	if len(on) > 0 {
		j.add(Note, "guest-offloads", object, strings.Join(on, " ")+" on", "large frames that the guest leaves to be cut go by OVS: for bulk TCP alone that may be faster; for many small frames turn it off",
			"<host tso4='off' tso6='off' ecn='off' ufo='off'/> in libvirt, or xdp-offload=target on the port")
	}
	if n.Queues > 0 && n.Queues < 2*g.VCPUs {
		j.add(Note, "guest-queues", object, fmt.Sprintf("%d queues for %d vCPUs", n.Queues, g.VCPUs), "a guest that runs XDP itself needs two for each vCPU (its kernel says: Too few free TX rings available)",
			fmt.Sprintf("<driver name='vhost' queues='%d'/> in libvirt, if the guest runs XDP", 2*g.VCPUs))
	}
	if !n.Vhost {
		j.add(Note, "vhost", object, "QEMU itself serves the card (vhost is off)", "each frame costs QEMU two system calls, more than the lane saves", "<driver name='vhost'/> in libvirt, modprobe vhost_net")
	}
}

// vhost judges where a guest's vhost threads may run: they redirect its frames.
func (j *judge) vhost(g Guest, object string) {
	for _, d := range j.facts.Devices {
		if !d.Physical || d.TXQueues == 0 || d.TXQueues >= j.facts.CPUs {
			continue
		}
		for _, tid := range slices.Sorted(maps.Keys(g.VhostCPUs)) {
			if highest(g.VhostCPUs[tid]) < d.TXQueues {
				continue
			}
			j.add(Warning, "vhost-placement", object, fmt.Sprintf("vhost thread %d may run on CPUs %s, and %s has queues for 0-%d", tid, g.VhostCPUs[tid], d.Name, d.TXQueues-1),
				"the guest's frames are redirected by the CPU of this thread: some get through, others are lost, as the thread wanders", fmt.Sprintf("taskset -pc 0-%d %d, or more queues (ethtool -L)", d.TXQueues-1, tid))
		}
	}
}

// highest returns the last CPU of a list as "0-3,8".
func highest(list string) int {
	last := -1
	for _, part := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == '-' }) {
		if n, err := strconv.Atoi(strings.TrimSpace(part)); err == nil {
			last = max(last, n)
		}
	}
	return last
}

var versioned = regexp.MustCompile(`^pc(?:-i440fx|-q35)?-(\d+)\.(\d+)$`)

// machineVersion reads the QEMU version in a machine type, "pc-q35-7.2"; others
// ("microvm", those of distributions) have none that is known.
func machineVersion(machine string) (major, minor int, ok bool) {
	m := versioned.FindStringSubmatch(machine)
	if m == nil {
		return 0, 0, false
	}
	major, _ = strconv.Atoi(m[1])
	minor, _ = strconv.Atoi(m[2])
	return major, minor, true
}
