// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/sync/diff"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// installer turns the steps of a diff into calls on a bpf.Lane. It numbers the
// bridges, and remembers the ports as they were last written.
type installer struct {
	lane    *bpf.Lane
	host    *host.Host
	numbers map[string]uint8 // Bridge:name -> number in the kernel's tables
	ports   map[int]plan.Port
	// flows holds those in the tables, as they were last written.
	flows map[plan.FlowKey]plan.Flow
	// sorted holds the same by ifindex; nil when that has changed.
	sorted []plan.Port
	// rows is for how many have makes room.
	rows int
	// mu is for who asks for counts. It guards the lists, and those of the tables.
	mu sync.Mutex
	// lists holds those in the tables; Rules are missing of one that was taken
	// over, until it is wanted. counted is what their rules and those of lists
	// before them have decided.
	lists   map[plan.ListKey]heldList
	counted map[string]map[plan.RuleID]bpf.RuleCount // by Bridge:name
	plain   map[int]plainPort                        // by ifindex
	// failed holds devices that were not taken after their offloads had been
	// turned off, by ifindex.
	failed map[int]failedAttach
}

type failedAttach struct {
	err error
	at  time.Time
}

// retryOffloads is after how long offloads are turned off once more for a
// device that was not taken: it may cost the device its carrier each time.
const retryOffloads = 10 * time.Minute

func newInstaller(lane *bpf.Lane, h *host.Host) *installer {
	return &installer{lane: lane, host: h, numbers: make(map[string]uint8), ports: make(map[int]plan.Port), flows: make(map[plan.FlowKey]plan.Flow),
		lists: make(map[plan.ListKey]heldList), counted: make(map[string]map[plan.RuleID]bpf.RuleCount), plain: make(map[int]plainPort),
		failed: make(map[int]failedAttach)}
}

// have reads the tables back, after taking out ports whose device has gone, which
// is looked up if devices may have changed; sightings say where stations of marked rows
// were last seen. One on the port of its row was back there, or it is the daemon that
// has marked it.
func (in *installer) have(changed bool) (tables plan.Tables, sightings []bpf.Event, err error) {
	var errs []error
	if changed { // some questions to the kernel for each port
		for _, p := range in.lane.Ports() {
			if p.Gone {
				errs = append(errs, in.remove(p.IfIndex))
			}
		}
	}
	t, names := plan.Tables{Ports: in.written(), Rows: make([]plan.Row, 0, in.rows)}, in.names()
	for r := range in.lane.EachRow(0) {
		if r.Moved {
			sightings = append(sightings, bpf.Event{Key: r.Key, IfIndex: r.Seen, Moved: r.Seen != r.IfIndex})
		}
		t.Rows = append(t.Rows, rowOf(r, names))
	}
	for _, f := range in.flows {
		t.Flows = append(t.Flows, f)
	}
	in.rows = len(t.Rows) + len(t.Rows)/8
	for _, l := range in.lists {
		t.Lists = append(t.Lists, l.List)
	}
	t.Sort()
	return t, sightings, errors.Join(errs...)
}

// written gives the ports as they were last written, sorted, to be read only.
func (in *installer) written() []plan.Port {
	if in.sorted == nil {
		t := plan.Tables{Ports: slices.Collect(maps.Values(in.ports))}
		t.Sort()
		in.sorted = t.Ports
	}
	return in.sorted
}

// names gives the bridges by their number.
func (in *installer) names() map[uint8]string {
	names := make(map[uint8]string, len(in.numbers))
	for name, n := range in.numbers {
		names[n] = name
	}
	return names
}

// rowOf is a row of the kernel's in the words of the plan.
func rowOf(r bpf.Row, names map[uint8]string) plan.Row {
	return plan.Row{
		Key:      plan.Key{Bridge: names[r.Bridge], VLAN: r.VLAN, MAC: r.MAC},
		IfIndex:  r.IfIndex,
		Target:   r.Target,
		Mirrored: r.Mirrored,
		Declared: r.Declared,
		Moved:    r.Moved,
	}
}

// close lets frames from a port pass, and sends none to it.
func (in *installer) close(ifindex int) {
	if p, ok := in.ports[ifindex]; ok {
		in.lane.ClosePort(ifindex)
		p.Rule = p.Rule.Shut()
		in.ports[ifindex] = p
		in.sorted = nil
	}
}

func (in *installer) remove(ifindex int) error {
	in.countPlain(ifindex, plan.Rule{})
	delete(in.ports, ifindex)
	in.dropFlowsOf(ifindex)
	in.sorted = nil
	return errors.Join(in.lane.RemovePort(ifindex), in.host.Restore(ifindex))
}

// attach puts a port on the lane, closed, after what its device does to frames
// before XDP sees them is turned off.
func (in *installer) attach(p plan.Port) error {
	if p.SetOffloads {
		if f, ok := in.failed[p.IfIndex]; ok && time.Since(f.at) < retryOffloads {
			return f.err
		}
		if err := in.host.TurnOff(p.IfIndex); err != nil {
			return err
		}
	}
	if err := in.lane.AddPort(p.IfIndex, bpf.Mode(p.Mode)); err != nil {
		if p.SetOffloads {
			err = errors.Join(err, in.host.Restore(p.IfIndex))
			in.failed[p.IfIndex] = failedAttach{err: err, at: time.Now()}
		}
		return err
	}
	delete(in.failed, p.IfIndex)
	in.ports[p.IfIndex] = plan.Port{IfIndex: p.IfIndex, Name: p.Name, Mode: p.Mode, SetOffloads: p.SetOffloads}
	in.sorted = nil
	return nil
}

// outcome is what came of applying steps.
type outcome struct {
	// put holds the rows that were new and wait for Confirm.
	put []bpf.Key
	// marked holds rows whose station was seen elsewhere since OVS was asked.
	marked []bpf.Key
	// full counts rows that found no place.
	full int
	// fullFlows counts flows that found no place.
	fullFlows int
	// refused holds the devices that the kernel did not take, with its error.
	refused map[int]error
	// unlisted holds lists that are not what they should be, for want of room or
	// because of an error: ports that they decide for stay closed.
	unlisted map[plan.ListKey]bool
	// attached counts ports that joined.
	attached int
	err      error
}

// apply does the steps in order. A step that fails does not stop the others:
// each prefix of them is safe, and the steps that need it fail with it.
func (in *installer) apply(ops []diff.Op) outcome {
	out := outcome{refused: make(map[int]error), unlisted: make(map[plan.ListKey]bool)}
	var errs []error
	for _, op := range ops {
		if op.Kind == diff.SetRule && out.lacks(op.Port.Rule) {
			continue // it stays closed
		}
		if out.refused[op.Port.IfIndex] != nil && op.Kind == diff.SetRule ||
			op.Kind == diff.PutRow && out.refused[op.Row.IfIndex] != nil ||
			op.Kind == diff.PutFlow && (out.refused[op.Flow.IfIndex] != nil || out.refused[op.Flow.Egress] != nil) {
			continue
		}
		if err := in.step(op, &out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", op, err))
		}
	}
	if err := in.lane.SettleLists(); err != nil {
		errs = append(errs, err)
	}
	in.lane.ForgetTypes()
	out.err = errors.Join(errs...)
	return out
}

// lacks tells that a list which decides for a port is not what it should be.
func (o *outcome) lacks(r plan.Rule) bool {
	for k := range o.unlisted {
		if k == r.Rules || k == r.Addresses || r.Scoped && k.Kind == plan.DestinationRules && k.Bridge == r.Bridge {
			return true
		}
	}
	return false
}

func (in *installer) step(op diff.Op, out *outcome) error {
	switch op.Kind {
	case diff.ClosePort:
		in.close(op.Port.IfIndex)
	case diff.DeleteFlow:
		in.deleteFlow(op.Flow.FlowKey)
	case diff.PutFlow:
		return in.putFlow(*op.Flow, out)
	case diff.MarkRow:
		in.lane.MarkRow(in.key(op.Row.Key))
	case diff.DeleteRow:
		in.lane.DeleteRow(in.key(op.Row.Key))
	case diff.RemovePort:
		return in.remove(op.Port.IfIndex)
	case diff.DeleteList:
		if err := in.deleteList(op.List.Key); err != nil {
			out.unlisted[op.List.Key] = true
			return err
		}
	case diff.PutList:
		if err := in.putList(*op.List); err != nil {
			out.unlisted[op.List.Key] = true
			if !errors.Is(err, bpf.ErrNoRoom) {
				return err
			}
		}
	case diff.AddPort:
		if err := in.attach(*op.Port); err != nil {
			out.refused[op.Port.IfIndex] = err
			return nil
		}
		out.attached++
	case diff.SetRule:
		rule := op.Port.Rule
		in.countPlain(op.Port.IfIndex, rule)
		if err := in.lane.SetRule(op.Port.IfIndex, in.rule(rule)); err != nil {
			return err
		}
		in.ports[op.Port.IfIndex] = *op.Port
		in.sorted = nil
	case diff.PutRow:
		key := in.key(op.Row.Key)
		fresh := in.lane.FindRow(key) == nil
		ok, err := in.lane.PutRow(bpf.Row{Key: key, IfIndex: op.Row.IfIndex, Target: op.Row.Target,
			Mirrored: op.Row.Mirrored, Declared: op.Row.Declared})
		switch {
		case errors.Is(err, bpf.ErrFull):
			out.full++
		case err != nil:
			return err
		case !ok:
			out.marked = append(out.marked, key)
		case fresh:
			out.put = append(out.put, key)
		}
	}
	return nil
}

func (in *installer) key(k plan.Key) bpf.Key {
	return bpf.Key{Bridge: in.number(k.Bridge), VLAN: k.VLAN, MAC: k.MAC}
}

func (in *installer) rule(r plan.Rule) bpf.Rule {
	return bpf.Rule{
		Watch: r.Watch, Ingress: r.Ingress, Egress: r.Egress, Observe: r.Observe,
		Protected: r.Protected, Declared: r.Declared, Checksum: r.Checksum,
		Bundle: r.Bundle, Legs: r.Legs, Reflects: r.Reflects, Scattered: r.Scattered, Finish: r.Finish,
		VLANMode: bpf.VLANMode(r.VLANMode), VID: r.VID, VLANs: r.VLANs,
		MaxFrame: r.MaxFrame, Bridge: in.number(r.InDomain()), Flows: r.Flows, KeepAlive: r.KeepAlive,
		Rules: in.listKey(r.Rules), Addresses: in.listKey(r.Addresses), Scoped: r.Scoped, MAC: r.MAC,
		PoliceBytes: bpf.Rate(r.PoliceBytes), PoliceFrames: bpf.Rate(r.PoliceFrames),
	}
}

// The plan must not want more bridges than the kernel's tables can number.
const _ = uint(bpf.MaxBridges - plan.MaxBridges)

// number gives a bridge's number, a free one to a bridge that has none. When
// none is free, those of bridges without a port are given up: their rows went
// with their ports.
func (in *installer) number(bridge string) uint8 {
	if n, ok := in.numbers[bridge]; ok {
		return n
	}
	for range 2 {
		used := make(map[uint8]bool)
		for _, n := range in.numbers {
			used[n] = true
		}
		for n := uint8(1); n <= bpf.MaxBridges; n++ {
			if !used[n] {
				in.numbers[bridge] = n
				return n
			}
		}
		alive := make(map[string]bool)
		for _, p := range in.ports {
			alive[p.Rule.InDomain()] = true
		}
		for k := range in.lists {
			alive[k.Bridge] = true
		}
		for name := range in.numbers {
			if !alive[name] {
				delete(in.numbers, name)
			}
		}
	}
	return 0 // plan allows no more bridges than there are numbers
}

// unsupported tells an error of a driver without native XDP.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, ebpf.ErrNotSupported)
}

// confirmWait bounds how long the events that were under way while rows were
// written are waited for.
const confirmWait = 5 * time.Millisecond
