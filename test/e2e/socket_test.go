// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// The commands of the control socket, in text.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := untagged(w.veth("v1", "tag=10"), 10)
	w.mode("on")
	w.announce(a, "lane")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"list-commands"}, "offload/show"},
		{[]string{"version"}, "ovs-xdpd"},
		{[]string{"offload/show"}, "br0"},
		{[]string{"offload/show", "br0"}, "br0"},
		{[]string{"fdb/show", "br0"}, a.mac.String()},
		{[]string{"port/show"}, "v1"},
		{[]string{"port/show", "br0"}, "v1"},
		{[]string{"coverage/show"}, ""},
		{[]string{"vlog/set", "debug"}, ""},
	} {
		out, err := w.Appctl(append([]string{"-t", "ovs-xdpd"}, c.args...)...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %q, error %v; want %q in it", strings.Join(c.args, " "), out, err, c.want)
		}
	}
	for _, args := range [][]string{{"no/such-command"}, {"fdb/show", "br9"}, {"vlog/set", "loudest"}} {
		if out, err := w.Appctl(append([]string{"-t", "ovs-xdpd"}, args...)...); err == nil {
			t.Errorf("%s: no error, but %q", strings.Join(args, " "), out)
		}
	}
	for _, args := range [][]string{{"status"}, {"fdb"}, {"ports"}} {
		out, err := w.Ctl(args...)
		if err != nil || !strings.Contains(out, "br0") {
			t.Errorf("ovs-xdpctl %s: %q, error %v", strings.Join(args, " "), out, err)
		}
	}
	s, err := w.Status()
	w.must(err)
	if s.PID != w.daemon.PID || s.Lane != "open" || s.OVS.Version == "" || s.Version == "" {
		t.Errorf("status: %+v", s)
	}
	ports, err := w.Lab.Ports()
	w.must(err)
	for _, p := range ports {
		if p.Interface == "v1" && (p.Attach != "native" || !p.Ingress || !p.Egress || p.Tag != 10 || p.VLANMode != "access" || p.OFPort < 1 || p.IfIndex < 1) {
			t.Errorf("port v1: %+v", p)
		}
	}
	_, err = w.Appctl("-t", "ovs-xdpd", "exit")
	w.must(err)
	w.must(w.daemon.Wait(settle))
	w.daemon = nil
	w.noPrograms()
}

// Without a daemon the tool fails and says so.
func TestToolWithoutDaemon(t *testing.T) {
	t.Parallel()
	l := lab.NewT(t)
	out, err := l.Ctl("status")
	if err == nil || !strings.Contains(err.Error(), "ovs-xdpd") {
		t.Errorf("ovs-xdpctl without a daemon: %q, error %v", out, err)
	}
}
