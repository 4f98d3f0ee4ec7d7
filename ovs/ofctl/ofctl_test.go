// SPDX-License-Identifier: Apache-2.0

package ofctl

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func TestClient(t *testing.T) {
	l := startLab(t)
	c := &Client{}
	ctx := t.Context()

	if rules, err := c.Rules(ctx, "br1"); err != nil || len(rules) != 0 {
		t.Errorf("rules of an empty table: %v, %v", rules, err)
	}
	l.ofctl("add-meter", "br0", "meter=1,kbps,band=type=drop,rate=1000")
	l.ofctl("add-flow", "br0", "table=3,cookie=0x5,idle_timeout=60,priority=7,ip,in_port=LOCAL,nw_src=192.0.2.0/24,actions=meter:1,ct(commit,zone=5),output:2")
	rules, err := c.Rules(ctx, "br0")
	if err != nil {
		t.Fatal(err)
	}
	want := []ovs.Rule{
		{Priority: 0, Actions: []string{"NORMAL"}},
		{Table: 3, Priority: 7, IdleTimeout: 60, Cookie: 5,
			Match:   []ovs.Match{{Field: "ip"}, {Field: "in_port", Value: "LOCAL"}, {Field: "nw_src", Value: "192.0.2.0/24"}},
			Actions: []string{"meter:1", "ct(commit,zone=5)", "output:2"}},
	}
	if diff := cmp.Diff(want, rules, cmpopts.IgnoreFields(ovs.Rule{}, "Packets", "Bytes")); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}

	l.ofctl("mod-port", "br0", "v1", "no-forward")
	l.ofctl("mod-port", "br0", "v2", "no-receive")
	l.ofctl("mod-port", "br0", "v3", "up")
	ports, err := c.PortConfig(ctx, "br0")
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[uint32]ovs.PortConfig{
		1:             {Down: true, NoFwd: true},
		2:             {Down: true, NoRecv: true},
		3:             {},
		ovs.LocalPort: {Down: true},
	} {
		if got, ok := ports[number]; !ok || got.Name == "" || withoutName(got) != want {
			t.Errorf("port %d: %+v, %t; want %+v", number, got, ok, want)
		}
	}
	if len(ports) != 4 {
		t.Errorf("%d ports, want 4", len(ports))
	}

	for _, mode := range []string{"normal", "drop", "nx-match"} {
		l.run("ovs-ofctl", "set-frags", "br0", mode)
		if got, err := c.FragMode(ctx, "br0"); err != nil || got != mode {
			t.Errorf("fragment mode %q, %v; want %q", got, err, mode)
		}
	}

	for name, want := range map[string]string{"br9": "br9.mgmt", "-V": "bridge name", "a/b": "bridge name", "tcp:192.0.2.1": "bridge name", "": "bridge name"} {
		_, rulesErr := c.Rules(ctx, name)
		_, portsErr := c.PortConfig(ctx, name)
		_, fragErr := c.FragMode(ctx, name)
		_, monitorErr := c.Monitor(ctx, name)
		for _, err := range []error{rulesErr, portsErr, fragErr, monitorErr} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("bridge %q: %v, want an error with %q", name, err, want)
			}
		}
	}

	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Rules(ended, "br0"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	l.run("ovs-vsctl", "--timeout=5", "set", "bridge", "br1", "protocols=OpenFlow10")
	if _, err := c.Rules(ctx, "br1"); err == nil || !strings.Contains(err.Error(), "version negotiation failed") {
		t.Errorf("bridge without OpenFlow 1.3: %v", err)
	}
}

func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	c := &Client{Rundir: t.TempDir()}
	_, err := c.FragMode(t.Context(), "br0")
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install openvswitch-common") {
		t.Errorf("error %v", err)
	}
}

func withoutName(c ovs.PortConfig) ovs.PortConfig {
	c.Name = ""
	return c
}
