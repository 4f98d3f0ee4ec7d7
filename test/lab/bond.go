// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Bond is a port of several interfaces.
type Bond struct {
	// Port names the port. It has no machine: frames are sent and received at
	// its members.
	*Port
	// Members are the interfaces, each a veth with a machine for raw frames
	// behind it.
	Members []*Port
}

// AddBond adds a bond to a bridge whose members are new veths of the given
// names. columns are settings of the Port row, as bond_mode=active-backup.
func (l *Lab) AddBond(bridge, name string, members []string, columns ...string) (*Bond, error) {
	b := &Bond{Port: l.newPort(bridge, name, PortOptions{})}
	err := func() error {
		for _, m := range members {
			p := l.newPort(bridge, m, PortOptions{})
			b.Members = append(b.Members, p)
			if err := p.connect(PortOptions{}); err != nil {
				return err
			}
			if err := l.Hypervisor.linkUp(m); err != nil {
				return err
			}
		}
		return l.bond(bridge, name, members, columns)
	}()
	if err != nil {
		return nil, fmt.Errorf("add bond %s: %w", name, err)
	}
	return b, nil
}

// HasLinuxBonds tells whether this kernel has bonds of its own.
func HasLinuxBonds() bool {
	_, err := os.Stat("/sys/module/bonding")
	return err == nil || exec.Command("modprobe", "-q", "bonding").Run() == nil
}

// AddLinuxBond adds a bond of the kernel to a bridge, whose slaves are new veths
// of the given names, with a machine for raw frames behind each. mode is as "ip
// link add type bond mode" takes it.
func (l *Lab) AddLinuxBond(bridge, name, mode string, slaves []string, o PortOptions) (*Bond, error) {
	b := &Bond{Port: l.newPort(bridge, name, o)}
	ip := func(args ...string) error {
		_, err := l.Hypervisor.Exec(context.Background(), "ip", append([]string{"link"}, args...)...)
		return err
	}
	err := func() error {
		if err := ip("add", name, "type", "bond", "mode", mode, "miimon", "50"); err != nil {
			return err
		}
		for _, s := range slaves {
			p := l.newPort(bridge, s, PortOptions{})
			b.Members = append(b.Members, p)
			if err := p.connect(PortOptions{}); err != nil {
				return err
			}
			// The program of a bond is bound to no slave, and can't ask for tags.
			_, err := p.VM.Exec(context.Background(), "ethtool", "-K", "eth0", "tx-vlan-offload", "off", "tx-vlan-stag-hw-insert", "off")
			if err != nil {
				return err
			}
			if err := ip("set", s, "master", name); err != nil {
				return err
			}
			if err := l.Hypervisor.linkUp(s); err != nil {
				return err
			}
		}
		return b.attach(o)
	}()
	if err != nil {
		return nil, fmt.Errorf("add Linux bond %s: %w", name, err)
	}
	return b, nil
}

// ConnectBonds joins bridges of two Labs by cables that form a bond of the same
// name on either side.
func ConnectBonds(a, b *Lab, bridge, name string, members []string, columns ...string) error {
	for _, m := range members {
		if err := veth(a.Hypervisor, m, b.Hypervisor, m, 0); err != nil {
			return err
		}
		for _, l := range []*Lab{a, b} {
			if err := l.Hypervisor.offloads(m, true, false); err != nil {
				return err
			}
			if err := l.Hypervisor.linkUp(m); err != nil {
				return err
			}
		}
	}
	for _, l := range []*Lab{a, b} {
		if err := l.bond(bridge, name, members, columns); err != nil {
			return fmt.Errorf("add bond %s: %w", name, err)
		}
	}
	return nil
}

func (l *Lab) bond(bridge, name string, members, columns []string) error {
	args := append([]string{"add-bond", bridge, name}, members...)
	_, err := l.OVS(append(args, columns...)...)
	return err
}

// ActiveMember returns the interface that bond/show calls active; "" for none.
func (l *Lab) ActiveMember(bond string) (string, error) {
	text, err := l.Appctl("bond/show", bond)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		// "active member mac: 52:54:00:00:00:01(p1)"
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "("); ok && strings.HasPrefix(line, "active ") && !strings.Contains(line, "primary") {
			return strings.Replace(strings.TrimSuffix(name, ")"), "none", "", 1), nil
		}
	}
	return "", nil
}
