// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities without which nothing works (capabilities(7)).
// CAP_PERFMON is asked of programs that read packets by pointers of changing
// value, and of those on tracepoints.
var needed = []struct {
	number int
	name   string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_BPF, "CAP_BPF"},
	{unix.CAP_PERFMON, "CAP_PERFMON"},
}

// CheckCapabilities returns an error that names the capabilities that the daemon
// needs and this process does not have. CAP_SYS_ADMIN stands for CAP_BPF and
// CAP_PERFMON, as in the kernel.
func CheckCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	has := func(n int) bool { return data[n/32].Effective>>(n%32)&1 != 0 }
	var missing []string
	for _, c := range needed {
		if !has(c.number) && (c.number == unix.CAP_NET_ADMIN || !has(unix.CAP_SYS_ADMIN)) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("can't load and attach XDP programs without %s: run ovs-xdpd as root, or give its service "+
			"AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON", strings.Join(missing, " and "))
	}
	return nil
}
