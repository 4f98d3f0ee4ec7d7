// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MountBPFFS mounts a bpffs of the Lab's own and returns where; Close unmounts
// it.
func (l *Lab) MountBPFFS() (string, error) {
	dir := filepath.Join(l.Dir, "bpf")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		return "", fmt.Errorf("mount a bpffs on %s: %w", dir, err)
	}
	l.onClose(func() error { return unix.Unmount(dir, 0) })
	return dir, nil
}

// TakeOver starts another ovs-xdpd that takes the place of the one that runs,
// through a bpffs, and waits until it is in charge. After an error the Daemon is
// the process that failed, if there is one.
func (l *Lab) TakeOver(bpffs string, args ...string) (*Daemon, error) {
	p, err := l.launchDaemon(append([]string{"--takeover", "--bpffs=" + bpffs}, args...)...)
	if err != nil {
		return nil, err
	}
	return &Daemon{Process: p, lab: l}, l.answers(p, "ovs-xdpd")
}

// XDPProgramIDs returns the kernel's id of the XDP program of every device in
// the namespace that has one.
func (n *Namespace) XDPProgramIDs() (map[string]int, error) {
	links, err := n.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", n.Name, err)
	}
	ids := make(map[string]int)
	for _, link := range links {
		if a := link.Attrs(); a.Xdp != nil && a.Xdp.Attached {
			ids[a.Name] = int(a.Xdp.ProgId)
		}
	}
	return ids, nil
}
