// SPDX-License-Identifier: Apache-2.0

// Package host tells what the kernel says of the network devices in this
// process's network namespace: rtnetlink, ethtool and the netdev netlink
// family, joined into plan.Link.
//
// It changes nothing but receive offloads of a device, when it is told to, and
// sees to it that they are restored, however the process ends.
package host

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Host reads devices, and remembers what of them does not change.
type Host struct {
	owns   func(program uint32) bool
	tool   *ethtool
	keeper *keeper
	kernel kernel
	mu     sync.Mutex
	static map[int]traits // by ifindex
	// watchOthers begins to tell of devices in other network namespaces; nil
	// before Watch. deaf: that is not allowed.
	watchOthers func()
	deaf        bool
}

// traits are what a device keeps for life.
type traits struct {
	name, driver string
}

// Open prepares to read devices; Close ends it. owns tells our own XDP programs
// by the kernel's id.
func Open(owns func(program uint32) bool) (*Host, error) {
	kernel, err := probeKernel()
	if err != nil {
		return nil, err
	}
	bits, err := readFeatureBits()
	if err != nil {
		return nil, err
	}
	tool, err := openEthtool(bits)
	if err != nil {
		return nil, err
	}
	return &Host{owns: owns, tool: tool, keeper: newKeeper(tool), kernel: kernel, static: make(map[int]traits)}, nil
}

// Close restores what TurnOff has turned off, and frees what Open took.
func (h *Host) Close() error {
	defer h.tool.close()
	return h.keeper.close()
}

// devices lists those of the network namespace.
func devices() (list []netlink.Link, err error) {
	for range 5 { // the kernel says when the list changed while it was read
		if list, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// Links reads every device of the network namespace, by name.
func (h *Host) Links() (map[string]plan.Link, error) {
	list, err := devices()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var features xdpFeatures
	if h.kernel.features {
		if features, err = readFeatures(); err != nil {
			return nil, err
		}
	}
	if err := h.keeper.check(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	links := make(map[string]plan.Link, len(list))
	known := make(map[int]traits, len(list))
	var veths []*netlink.LinkAttrs
	for _, nl := range list {
		a := nl.Attrs()
		t, ok := h.static[a.Index]
		if !ok || t.name != a.Name {
			t = traits{name: a.Name, driver: h.driver(nl)}
		}
		known[a.Index] = t
		l := plan.Link{
			Name:     a.Name,
			IfIndex:  a.Index,
			Driver:   t.driver,
			MTU:      a.MTU,
			Up:       a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
			Physical: finished(a.ParentDevBus, t.driver),
		}
		if a.ParentDevBus != "" {
			h.readOffloads(&l)
		}
		l.KeptOff = h.keeper.holds(a.Index)
		if slave, ok := a.Slave.(*netlink.BondSlave); ok {
			l.Bond = a.MasterIndex
			l.Backup = slave.State != netlink.BondStateActive || slave.MiiStatus != netlink.BondLinkUp
		}
		if a.Xdp != nil && a.Xdp.Attached && !h.owns(a.Xdp.ProgId) {
			l.OtherXDP = programName(a.Xdp.ProgId)
		}
		features.answer(&l)
		// The slaves of a bond have its program, which is bound to none of them.
		if l.Driver == "veth" && (!h.kernel.tags || !h.kernel.features || l.Bond != 0) {
			veths = append(veths, a)
		}
		links[a.Name] = l
	}
	h.static = known
	if len(veths) > 0 {
		if h.watchOthers != nil {
			h.watchOthers()
		}
		asked := veths
		if h.deaf {
			asked = slices.DeleteFunc(slices.Clone(veths), func(v *netlink.LinkAttrs) bool { return v.NetNsID != -1 })
		}
		peers, err := readPeers(h.tool.bits, asked)
		if err != nil {
			return nil, err
		}
		for _, v := range veths {
			l := links[v.Name]
			tells := h.kernel
			tells.tags = tells.tags && l.Bond == 0
			peers[v.Index].answer(tells, &l)
			links[v.Name] = l
		}
	}
	return links, nil
}

// AskPeers has the other ends of veths say from now on whether they hide tags:
// the kernel tells of them, but not to a program of ours.
func (h *Host) AskPeers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kernel.tags = false
}

// AsksPeers tells whether the other ends of veths are asked for that.
func (h *Host) AsksPeers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.kernel.tags
}

// driver names the driver as ethtool does; kinds that the kernel makes up
// itself need no question.
func (h *Host) driver(l netlink.Link) string {
	switch l.Type() {
	case "veth":
		return "veth"
	case "tuntap":
		return "tun"
	}
	return h.tool.driver(l.Attrs().Name)
}

// finished tells a device on a bus whose frames come from a wire. Another
// machine's memory is no wire: frames from there may be as its stack left them
// to the device, their checksums unfinished.
func finished(bus, driver string) bool {
	switch bus {
	case "", "virtio", "vmbus", "xen", "vio":
		return false
	}
	return driver != "vmxnet3"
}

// programName gives an XDP program's name and id for people.
func programName(id uint32) string {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return fmt.Sprintf("id %d", id)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || info.Name == "" {
		return fmt.Sprintf("id %d", id)
	}
	return fmt.Sprintf("%s (id %d)", info.Name, id)
}
