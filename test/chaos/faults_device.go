// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// ofC are the flows of the machine whose device the faults are about.
var ofC = []string{"C>H", "H>C"}

// away is how long its device is gone, or otherwise than it was.
const away = 1500 * time.Millisecond

// deviceFaults are those of C's device, v2.
var deviceFaults = []fault{
	{
		name: "port deleted and added again", promise: "nothing lost of others",
		concerns: ofC, closes: closesForConcerned,
		inject: func(r *run) error {
			return r.sequence(away, r.barring(r.vsctl("del-port", "br0", "v2")), r.vsctl("add-port", "br0", "v2", "tag=20"))
		},
	},
	{
		name: "device renamed, and back", promise: "the same",
		concerns: ofC, closes: closesForConcerned,
		inject: func(r *run) error {
			return r.sequence(away, r.ip("link set v2 down", "link set v2 name v2x", "link set v2x up"),
				r.ip("link set v2x down", "link set v2x name v2", "link set v2 up"))
		},
	},
	{
		name: "device deleted, and made again with the same name", promise: "the same",
		concerns: ofC, closes: closesForConcerned,
		inject: func(r *run) error {
			return r.sequence(away, r.ip("link del v2"), func() error { return r.remake("v2", 0) })
		},
	},
	{
		name: "device deleted, its ifindex given to another's device, then made again with it", promise: "the same, and nothing goes to the other",
		short: true, concerns: ofC, closes: closesForConcerned,
		inject: reuseIndex,
	},
	{
		name: "device moved to another network namespace, and back", promise: "the same",
		concerns: ofC, closes: closesForConcerned,
		inject: func(r *run) error {
			ns := r.places["by20"].port.VM
			return r.sequence(away, r.barring(r.ip("link set v2 netns "+ns.Name)), func() error {
				if _, err := ns.Exec(context.Background(), "ip", "link", "set", "v2", "netns", r.Hypervisor.Name); err != nil {
					return err
				}
				// OVS, which has seen it down, may put it down again when it leaves the port.
				return errors.Join(r.Hypervisor.SetLink("v2", true, 0), r.replug("v2"), r.Hypervisor.SetLink("v2", true, 0))
			})
		},
	},
	{
		name: "port moved to another bridge, and back", promise: "the same",
		concerns: ofC, closes: closesForConcerned,
		inject: func(r *run) error {
			r.traffic.mayBeIn("br1", 20, ofC...)
			return r.sequence(away, r.barring(r.vsctl("del-port", "br0", "v2", "--", "add-port", "br1", "v2", "tag=20")),
				r.vsctl("del-port", "br1", "v2", "--", "add-port", "br0", "v2", "tag=20"))
		},
	},
	{
		name: "device down, and up", promise: "the same",
		concerns: ofC, closes: closesForConcerned,
		inject: func(r *run) error { return r.sequence(away, r.ip("link set v2 down"), r.ip("link set v2 up")) },
	},
	{
		name: "MTU smaller than some frames, and back", promise: "the same",
		concerns: ofC,
		inject: func(r *run) error {
			return r.sequence(away, r.ip("link set v2 mtu 900"), r.ip("link set v2 mtu 1500"))
		},
	},
	{
		name: "XDP program replaced by somebody else's", promise: "nothing lost but in flight, the port stays with OVS until that is gone",
		short: true, daemon: true,
		inject: replaceProgram,
	},
	{
		name: "a machine turns GRO off at its end of the veth, and on", promise: "nothing lost of others",
		daemon: true, concerns: []string{"H>C"},
		inject: func(r *run) error {
			gro := func(what string) func() error {
				return func() error {
					_, err := r.places["v2"].port.VM.Exec(context.Background(), "ethtool", "-K", "eth0", "gro", what)
					return err
				}
			}
			return r.sequence(away, gro("off"), gro("on"))
		},
	},
}

// barring does a thing after which C's flows must not arrive.
func (r *run) barring(do func() error) func() error {
	return func() error { return errors.Join(do(), r.bar(ofC...)) }
}

// sequence does a thing to C's device, and undoes it a while later.
func (r *run) sequence(pause time.Duration, do, undo func() error) error {
	r.hit()
	if err := do(); err != nil {
		return err
	}
	time.Sleep(pause)
	r.over()
	return undo()
}

func (r *run) vsctl(args ...string) func() error { return func() error { return r.ovs(args...) } }

// ip runs commands of ip(8) in the hypervisor.
func (r *run) ip(commands ...string) func() error {
	return func() error {
		for _, c := range commands {
			if _, err := r.Hypervisor.Exec(context.Background(), "ip", strings.Fields(c)...); err != nil {
				return err
			}
		}
		return nil
	}
}

// ifindex returns that of a device in the hypervisor.
func (n *network) ifindex(device string) (int, error) {
	var index int
	err := n.Hypervisor.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err == nil {
			index = i.Index
		}
		return err
	})
	return index, err
}

// remake makes a veth to a place's machine anew, with an ifindex unless that is
// 0, and sets both ends up as they were.
func (r *run) remake(name string, index int) error {
	p := r.places[name]
	c := "link add name " + name
	if index != 0 {
		c += " index " + strconv.Itoa(index)
	}
	if err := r.ip(c + " type veth peer name eth0 netns " + p.port.VM.Name)(); err != nil {
		return err
	}
	offloads := []string{"-K", "eth0", "gro", "on", "tx", "off"}
	if !lab.TagsTold() {
		offloads = append(offloads, "tx-vlan-offload", "off", "tx-vlan-stag-hw-insert", "off")
	}
	ctx := context.Background()
	_, err := p.port.VM.Exec(ctx, "ethtool", offloads...)
	if err == nil {
		_, err = p.port.VM.Exec(ctx, "ip", "link", "set", "eth0", "address", p.mac.String(), "arp", "off", "up")
	}
	if err == nil {
		err = r.Hypervisor.SetLink(name, true, 0)
	}
	if err != nil {
		return err
	}
	w, err := p.port.VM.OpenPacket("eth0")
	if err != nil {
		return err
	}
	p.rewire(w)
	return r.replug(name)
}

// replug takes a port out of Open vSwitch and puts it back, as whatever makes
// the devices does: the userspace datapath holds on to a device that is gone.
func (r *run) replug(name string) error {
	p := r.places[name]
	if err := r.ovs("del-port", p.bridge, name); err != nil {
		return err
	}
	return r.ovs("add-port", p.bridge, name, fmt.Sprintf("tag=%d", p.vlan))
}

// reuseIndex gives the ifindex of C's device to a device of somebody else's.
func reuseIndex(r *run) error {
	index, err := r.ifindex("v2")
	if err != nil {
		return err
	}
	other := &place{name: "other", bridge: "none"}
	return r.sequence(away, func() error {
		if err := r.ip("link del v2", fmt.Sprintf("link add name other index %d type veth peer name others", index))(); err != nil {
			return err
		}
		ends := errors.Join(r.Hypervisor.SetLink("other", true, 0), r.Hypervisor.SetLink("others", true, 0))
		w, err := r.Hypervisor.OpenPacket("others")
		if err := errors.Join(ends, err); err != nil {
			return err
		}
		other.rewire(w)
		r.later(w.Close)
		r.traffic.receivers.Go(func() { r.traffic.receive(other) })
		return nil
	}, func() error {
		if err := r.ip("link del other")(); err != nil {
			return err
		}
		return r.remake("v2", index)
	})
}

// replaceProgram takes the daemon's program off C's device, as bpftool link
// detach does, and attaches another, which passes every frame.
func replaceProgram(r *run) error {
	index, err := r.ifindex("v2")
	if err != nil {
		return err
	}
	had, err := objectsOf(r.daemon.PID)
	if err != nil {
		return err
	}
	detached := false
	return r.sequence(away, func() error {
		for _, id := range had.links {
			l, err := link.NewFromID(link.ID(id))
			if err != nil {
				return err
			}
			defer l.Close()
			info, err := l.Info()
			if err != nil {
				return err
			}
			if info.XDP() != nil && int(info.XDP().Ifindex) == index {
				if err := l.Detach(); err != nil {
					return err
				}
				detached = true
			}
		}
		if !detached {
			return errors.New("no link of the daemon is on v2")
		}
		return r.Hypervisor.AttachXDP("v2", "somebody_else")
	}, func() error {
		ports, err := r.daemon.ask("offload/show")
		if err != nil {
			return err
		}
		if !strings.Contains(ports, "somebody_else") {
			return fmt.Errorf("the status does not name the other program:\n%s", ports)
		}
		return r.ip("link set v2 xdpdrv off")()
	})
}
