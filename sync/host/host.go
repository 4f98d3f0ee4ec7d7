// SPDX-License-Identifier: Apache-2.0

// Package host tells what the kernel says of the network devices in this
// process's network namespace: rtnetlink, ethtool and the netdev netlink
// family, joined into plan.Link. It changes nothing.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Host reads devices, and remembers what of them does not change.
type Host struct {
	owns   func(program uint32) bool
	tool   *ethtool.Ethtool
	mu     sync.Mutex
	static map[int]traits // by ifindex
}

// traits are what a device keeps for life.
type traits struct {
	name, driver string
}

// Open prepares to read devices; Close ends it. owns tells our own XDP programs
// by the kernel's id.
func Open(owns func(program uint32) bool) (*Host, error) {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return nil, fmt.Errorf("open ethtool socket: %w", err)
	}
	return &Host{owns: owns, tool: tool, static: make(map[int]traits)}, nil
}

// Close frees what Open took.
func (h *Host) Close() { h.tool.Close() }

// Links reads every device of the network namespace, by name.
func (h *Host) Links() (map[string]plan.Link, error) {
	var (
		list []netlink.Link
		err  error
	)
	for range 5 { // the kernel says when the list changed while it was read
		if list, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	features, err := readFeatures()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	links := make(map[string]plan.Link, len(list))
	known := make(map[int]traits, len(list))
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
			Physical: a.ParentDevBus != "" && t.driver != "virtio_net",
		}
		l.StripsVLAN = a.ParentDevBus != "" && h.stripsVLAN(a.Name)
		if a.Xdp != nil && a.Xdp.Attached && !h.owns(a.Xdp.ProgId) {
			l.OtherXDP = programName(a.Xdp.ProgId)
		}
		features.answer(&l)
		links[a.Name] = l
	}
	h.static = known
	return links, nil
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
	name, err := h.tool.DriverName(l.Attrs().Name)
	if err != nil {
		return "" // a device without ethtool operations has none to name
	}
	return name
}

// stripsVLAN asks for rx-vlan-offload; a device that does not tell is taken
// to have it.
func (h *Host) stripsVLAN(name string) bool {
	f, err := h.tool.Features(name)
	return err != nil || f["rx-vlan-hw-parse"]
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

// Frames returns how many frames a device has received and sent, together.
func (h *Host) Frames(ifindex int) (uint64, error) {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return 0, fmt.Errorf("read counters of device %d: %w", ifindex, err)
	}
	st := l.Attrs().Statistics
	if st == nil {
		return 0, fmt.Errorf("read counters of device %d: the kernel does not tell", ifindex)
	}
	return st.RxPackets + st.TxPackets, nil
}

// Watch sends on the channel it returns, coalesced, whenever a device or what
// it can do may have changed, until ctx ends.
func (h *Host) Watch(ctx context.Context, log *slog.Logger) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	signal := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	updates := make(chan netlink.LinkUpdate, 64)
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{
		// An overrun lost events: look at everything.
		ErrorCallback: func(err error) {
			if ctx.Err() == nil {
				log.Warn("network device events were lost", "error", err)
			}
			signal()
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch network devices: %w", err)
	}
	go func() {
		for range updates {
			signal()
		}
	}()
	if err := watchFeatures(ctx, signal); err != nil {
		return nil, err
	}
	return changed, nil
}
