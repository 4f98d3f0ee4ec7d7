// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

const (
	// maxPorts is how many ports each side has.
	maxPorts = 8
)

// lateLook is when ovs-xdpd is too late with a look at a change.
var lateLook = 5 * time.Second * lab.Patience()

// Rig is what cases run on, one after the other: one Open vSwitch, one
// ovs-xdpd, and the ports of both sides.
type Rig struct {
	lab      *lab.Lab
	daemon   *lab.Daemon
	alone    *side
	lane     *side
	vswitchd *unixctl.Client
	xdpd     *unixctl.Client
	touched  int
}

// NewRig makes a Rig in a Lab, whose Close ends it.
func NewRig(l *lab.Lab) (*Rig, error) {
	r := &Rig{lab: l, alone: &side{lab: l, letter: "a"}, lane: &side{lab: l, letter: "b", lane: true}}
	if err := l.AddBridge("park"); err != nil {
		return nil, err
	}
	for _, s := range r.sides() {
		for i := range maxPorts {
			add := l.AddTap
			if isVeth(i) {
				add = l.AddVeth
			}
			p, err := add("park", fmt.Sprintf("%s%d", s.letter, i+1), lab.PortOptions{})
			if err != nil {
				return nil, err
			}
			s.ports = append(s.ports, p)
		}
	}
	if _, err := l.OVS("del-br", "park"); err != nil {
		return nil, err
	}
	// On a busy machine a case takes longer than OVS keeps flows by default.
	if _, err := l.OVS("set", "open_vswitch", ".", "other_config:max-idle=120000"); err != nil {
		return nil, err
	}
	var err error
	// Keep-alive frames would blur the share of the lane. Asking OVS often what
	// it would do must never close one.
	interval := 50 * time.Millisecond * lab.Patience()
	if r.daemon, err = l.StartDaemon("--keepalive", "60s", "--audit-interval", interval.String()); err != nil {
		return nil, err
	}
	if r.vswitchd, err = control(l, "ovs-vswitchd"); err != nil {
		return nil, err
	}
	if r.xdpd, err = control(l, "ovs-xdpd"); err != nil {
		return nil, err
	}
	return r, nil
}

func control(l *lab.Lab, program string) (*unixctl.Client, error) {
	socket, _, err := unixctl.DaemonSocket(l.RunDir, program)
	return &unixctl.Client{Socket: socket}, err
}

func (r *Rig) sides() []*side { return []*side{r.alone, r.lane} }

// start gives both sides new bridges.
func (r *Rig) start(c Config) error {
	var args []string
	for _, s := range r.sides() {
		args = append(args, s.remove()...)
		s.now = Config{}
		s.generation++
		if err := s.links(c, true); err != nil {
			return err
		}
	}
	return r.apply(c, args)
}

// change brings both sides from the configuration they have to another.
func (r *Rig) change(c Config) error {
	return r.apply(c, nil)
}

func (r *Rig) apply(c Config, args []string) error {
	for _, s := range r.sides() {
		args = append(args, s.database(c)...)
	}
	if len(args) > 0 {
		if _, err := r.lab.OVS(args[1:]...); err != nil {
			return err
		}
	}
	for _, s := range r.sides() {
		if err := errors.Join(s.links(c, false), s.openflow(c)); err != nil {
			return err
		}
		s.now = c.Clone()
	}
	return r.caughtUp()
}

// ask calls a command of ovs-vswitchd.
func (r *Rig) ask(method string, args ...string) (string, error) {
	return r.vswitchd.Call(context.Background(), method, args...)
}

// barrier returns when ovs-vswitchd has taken what was sent before. Its main
// thread serves the ports and its control socket in turns; the reply to the
// second call comes from a turn that began after the first call.
func (r *Rig) barrier() error {
	for range 2 {
		if _, err := r.ask("version"); err != nil {
			return err
		}
	}
	return nil
}

// purge takes all flows out of the datapath, and has OVS learn from the frames
// that they counted.
func (r *Rig) purge() error {
	// OVS 3.1 aborts ("Invalid ukey transition") when an upcall of the kernel
	// datapath meets a purge.
	if r.lab.DatapathType == "system" {
		time.Sleep(100 * time.Millisecond * lab.Patience())
	}
	_, err := r.ask("revalidator/purge")
	return err
}

// askLane reads a document of ovs-xdpd.
func askLane[T any](r *Rig, method string, args ...string) (T, error) {
	var v T
	raw, err := r.xdpd.CallJSON(context.Background(), method, args...)
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	return v, err
}

// touch changes something in the database that only makes ovs-xdpd look.
func (r *Rig) touch() error {
	r.touched++
	ids := func(op string, value any) []any { return []any{"external_ids", op, value} }
	request := map[string]any{"method": "transact", "id": r.touched, "params": []any{"Open_vSwitch", map[string]any{
		"op": "mutate", "table": "Bridge", "where": []any{[]any{"name", "==", r.lane.bridge(0)}},
		"mutations": []any{
			ids("delete", []any{"set", []any{"conformance"}}),
			ids("insert", []any{"map", []any{[]any{"conformance", fmt.Sprint(r.touched)}}}),
		},
	}}}
	conn, err := net.Dial("unix", filepath.Join(r.lab.RunDir, "db.sock"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(lateLook)); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return err
	}
	var reply struct {
		Result []struct{ Error string }
		Error  any
	}
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return err
	}
	if reply.Error != nil || slices.ContainsFunc(reply.Result, func(r struct{ Error string }) bool { return r.Error != "" }) {
		return fmt.Errorf("touch the database: %v %+v", reply.Error, reply.Result)
	}
	return nil
}

// caughtUp returns when ovs-xdpd has looked at what OVS is now. A look that it
// ends after a change may have begun before it; the second has not.
func (r *Rig) caughtUp() error {
	looks := func() (uint64, error) {
		c, err := askLane[map[string]uint64](r, "coverage/show")
		return c["looks"], err
	}
	for range 2 {
		before, err := looks()
		if err != nil {
			return err
		}
		if err := r.touch(); err != nil {
			return err
		}
		err = lab.Eventually(lateLook, func() error {
			now, err := looks()
			if err == nil && now == before {
				err = errors.New("ovs-xdpd does not look at a change of the database")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
