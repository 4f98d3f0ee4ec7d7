// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// auditInterval is how often the daemons of the tests ask OVS what it would do.
var auditInterval = 100 * time.Millisecond * lab.Patience()

// Lines of the daemon's log.
const (
	auditClosed   = "audit: the lane of the bridge is closed"
	auditRepaired = "audit: a row in the kernel was not as planned"
	auditAgain    = "audit: OVS would do something else: asking again"
)

// logged tells whether the daemon's log has a text, and how often.
func logged(d *lab.Daemon, text string) int {
	return strings.Count(d.Output(1<<20), text)
}

// audit is what the daemon counts of a bridge.
func (w *world) audit(bridge string) lab.Audit {
	w.t.Helper()
	s, err := w.Status()
	w.must(err)
	b, err := s.Bridge(bridge)
	w.must(err)
	return b.Audit
}

// fdb maps the daemon's FDB into the test.
func (w *world) fdb() *memory {
	w.t.Helper()
	m, err := fdbOf(w.daemon.PID)
	w.must(err)
	w.t.Cleanup(func() { w.must(m.close()) })
	return m
}

// A row that leads to the wrong port, however often it is put right, closes the
// lane of its bridge, which says so, and OVS delivers from then on. The operator
// opens it again.
func TestAuditClosesLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--audit-interval="+(auditInterval/2).String())
	w.expectsAudit = true
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.must(w.AddBridge("br9"))
	other := []station{
		untagged(w.portOn("br9", (*lab.Lab).AddTap, "t8", lab.PortOptions{}), 0),
		untagged(w.portOn("br9", (*lab.Lab).AddTap, "t9", lab.PortOptions{}), 0),
	}
	w.mode("on")
	_, err := w.OVS("set", "bridge", "br9", "external_ids:xdp-offload=on")
	w.must(err)
	for _, s := range append([]station{a, b, c}, other...) {
		w.announce(s, "lane")
	}
	w.laneBetween(a, b)
	f := a.frameTo(b.mac)

	memory := w.fdb()
	defer memory.keepPlanting(b, c)()
	wrong := 0
	for tries := 0; wrong == 0 && tries < 20; tries++ {
		got, _ := w.send(a.port, f)
		wrong = len(got[c.port.Name])
	}
	if wrong == 0 {
		t.Fatal("the planted row leads nowhere: the test proves nothing")
	}
	if text := w.refused("br0"); !strings.HasPrefix(text, "audit ") || !strings.Contains(text, b.mac.String()) ||
		!strings.Contains(text, "the lane sends it to v2 untagged, OVS sends it to t1 untagged") {
		t.Errorf("refusal: %s", text)
	}
	status := w.state("refused")
	found := status.Audit.Found
	if found == nil || !strings.Contains(found.Trace, "Datapath actions: ") || !strings.Contains(found.Trace, "dl_dst="+b.mac.String()) || found.At.IsZero() {
		t.Fatalf("evidence: %+v", found)
	}
	if status.Audit.Mismatches < 3 || status.Audit.Asked != status.Audit.Agreed+status.Audit.Mismatches+status.Audit.Unanswered {
		t.Errorf("counted: %+v", status.Audit)
	}
	for _, args := range [][]string{{"status", "br0"}, {"coverage"}} {
		text, err := w.Ctl(args...)
		w.must(err)
		want := []string{"audit-mismatches"}
		if args[0] == "status" {
			want = []string{found.Detail, "closed the lane at", "Datapath actions: "}
		}
		for _, s := range want {
			if !strings.Contains(text, s) {
				t.Errorf("ovs-xdpctl %v: %q is not in\n%s", args, s, text)
			}
		}
	}
	w.bridge(a.port, f, map[string][]byte{b.port.Name: f})
	w.noPrograms("t8", "t9")
	w.laneBetween(other[0], other[1]) // another bridge is not concerned

	// A look, or another connection to the database, does not open it again.
	w.set("other_config:mac-aging-time=200")
	time.Sleep(3 * auditInterval)
	w.state("refused")
	w.set("external_ids:xdp-offload=off")
	if status = w.state("off"); status.Audit.Found != nil {
		t.Errorf("a bridge that is off keeps its evidence: %+v", status.Audit)
	}
	w.mode("on")
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	w.laneBetween(a, b)
	if n := logged(w.daemon, auditClosed); n != 1 {
		t.Errorf("the log tells %d times that the lane is closed", n)
	}
}

// A row that was spoiled once is found and put right, and the lane stays open.
func TestAuditRepairsRow(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t, "--audit-interval="+(auditInterval/5).String())
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.announce(c, "lane")
	memory := w.fdb()
	// A look that comes by chance puts the row right before it is noticed.
	w.eventually(func() error {
		if err := memory.plant(b, c); err != nil {
			return err
		}
		return lab.Eventually(settle/4, func() error {
			if logged(w.daemon, auditRepaired) == 0 {
				return errors.New("the spoiled row is not reported")
			}
			return nil
		})
	})
	w.row(b, "lane")
	w.laneBetween(a, b)
	w.state("on")
}

// A rule that OVS did not announce: what the audit finds makes the daemon read
// everything again.
func TestAuditFindsUnannouncedRule(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t, "--audit-interval="+(auditInterval/5).String(), "--log-level=dbg")
	noticed := false
	for tries := 0; tries < 5 && !noticed; tries++ {
		// The daemon waits for OpenFlow's messages through these.
		monitors := w.children("ovs-ofctl")
		if len(monitors) == 0 {
			t.Fatal("the daemon watches no bridge")
		}
		for _, pid := range monitors {
			w.must(syscall.Kill(pid, syscall.SIGSTOP))
		}
		before := logged(w.daemon, auditAgain)
		_, err := w.Ofctl("add-flow", "br0", fmt.Sprintf("priority=9,dl_dst=%s,actions=drop", b.mac))
		w.must(err)
		w.eventually(func() error {
			if r := w.rules()["0 9 dl_dst="+b.mac.String()]; r.Verdict != "drop" {
				return fmt.Errorf("the rule is %+v", r)
			}
			return nil
		})
		noticed = logged(w.daemon, auditAgain) > before // or it was the look that comes every 10 s
		for _, pid := range monitors {
			w.must(syscall.Kill(pid, syscall.SIGCONT))
		}
		_, err = w.Ofctl("del-flows", "br0", fmt.Sprintf("dl_dst=%s", b.mac))
		w.must(err)
		w.state("on")
		w.announce(a, "lane")
		w.announce(b, "lane")
	}
	if !noticed {
		t.Error("the audit has not noticed the rule")
	}
	w.laneBetween(a, b)
}

// children lists the processes of this name that the daemon has started.
func (w *world) children(name string) []int {
	w.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	w.must(err)
	var pids []int
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has just ended
		}
		// "123 (ovs-ofctl) S 77 …"
		head, tail, _ := strings.Cut(string(text), ") ")
		number, comm, _ := strings.Cut(head, " (")
		if fields := strings.Fields(tail); comm != name || len(fields) < 2 || fields[1] != strconv.Itoa(w.daemon.PID) {
			continue
		}
		pid, err := strconv.Atoi(number)
		w.must(err)
		pids = append(pids, pid)
	}
	return pids
}

// A busy bridge with all kinds of ports, on which stations come, move and are
// forgotten: OVS agrees with the lane, and what it finds between two states of
// the lane never lasts.
func TestAuditAgrees(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--audit-interval="+(auditInterval/10).String(), "--keepalive=1s")
	up, up2 := w.veth("up"), w.veth("up2", "trunks=10,20")
	w.tap("span", "tag=99")
	v1, v2 := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10", "protected=true"), 10)
	t1, t2 := untagged(w.tap("t1", "tag=10", "protected=true"), 10), untagged(w.tap("t2", "tag=20"), 20)
	nt, nu := w.tap("nt", "tag=10", "vlan_mode=native-tagged"), w.veth("nu", "tag=10", "vlan_mode=native-untagged")
	off := untagged(w.veth("off", "tag=10", "external_ids:xdp-offload=off"), 10)
	declared := w.declared((*lab.Lab).AddTap, "t3") // never says anything
	bond := w.bond("bond0", "bond_mode=active-backup")
	w.set("other_config:mac-aging-time=15")
	w.mode("on")
	stations := []station{v1, v2, t1, t2, untagged(nt, 10), untagged(nu, 10), untagged(up, 0),
		tagged(up, w.NewMAC(), 10), tagged(up, w.NewMAC(), 20), tagged(up2, w.NewMAC(), 10), tagged(up2, w.NewMAC(), 20),
		tagged(nt, w.NewMAC(), 20), tagged(nu, w.NewMAC(), 20)}
	for _, s := range stations {
		w.announce(s, "lane")
	}
	w.row(declared, "lane")
	active, _ := w.activeMember(bond)
	w.announceBy(active, tagged(bond.Port, w.NewMAC(), 10), "lane")
	_, err := w.OVS(strings.Fields("-- --id=@p get port span -- --id=@v get port v2 -- " +
		"--id=@m create mirror name=m select_src_port=@v output_port=@p -- set bridge br0 mirrors=@m")...)
	w.must(err)

	// A station that goes round: to access ports, a trunk, and a port that the
	// lane does not see.
	wanderer := w.NewMAC()
	places := []station{{port: v1.port, mac: wanderer}, {port: up, mac: wanderer, tags: []frame.Tag{{VID: 10}}},
		{port: off.port, mac: wanderer}, {port: t1.port, mac: wanderer}}
	const enough = 400
	var audit lab.Audit
	for step := 0; audit.Asked < enough; step++ {
		s := places[step/3%len(places)]
		w.must(s.port.Send(s.frameTo(frame.Broadcast)))
		for _, s := range stations {
			w.must(s.port.Send(s.frameTo(stations[step%len(stations)].mac)))
		}
		newcomer := tagged(up, w.NewMAC(), 10)
		w.must(up.Send(newcomer.frameTo(v1.mac)))
		switch step % 40 {
		case 10:
			_, err := w.Appctl("fdb/flush", "br0")
			w.must(err)
		case 20:
			// Back to what was, before anything has come of it.
			w.must(t2.port.Set("tag=30"))
			w.must(t2.port.Set("tag=20"))
		case 30:
			for _, s := range stations {
				w.must(s.port.Send(s.frameTo(frame.Broadcast)))
			}
		}
		w.drain(10 * time.Millisecond)
		was := audit.Asked
		status, err := w.Status()
		w.must(err)
		b, err := status.Bridge("br0")
		w.must(err)
		if audit = b.Audit; audit.Asked < was || audit.Found != nil || b.State == "refused" {
			t.Fatalf("step %d: state %s, refusals %+v, audit %+v", step, b.State, b.Refusals, audit)
		}
		if step > 2000 {
			t.Fatalf("OVS was asked about %d frames only", audit.Asked)
		}
	}
	t.Logf("audit: %+v", audit)
	if audit.Unanswered > 0 || audit.Agreed < enough*3/4 {
		t.Errorf("of %d answers %d agreed, %d were not understood", audit.Asked, audit.Agreed, audit.Unanswered)
	}
}

// Asking has no effect on OVS: it learns nothing, forgets nothing and counts
// nothing.
func TestAuditLeavesNoTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--audit-interval="+(auditInterval/10).String())
	a, b := untagged(w.tap("t1", "tag=10"), 10), untagged(w.tap("t2", "tag=10"), 10)
	w.mode("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	stats := w.macStats()
	packets, err := w.FlowPackets("br0")
	w.must(err)
	before, cpu := w.audit("br0").Agreed, w.cpuTime(w.Vswitchd.PID)
	var n uint64
	w.eventually(func() error {
		if n = w.audit("br0").Agreed - before; n < 100 {
			return fmt.Errorf("OVS was asked about %d frames", n)
		}
		return nil
	})
	t.Logf("a question took ovs-vswitchd %v of CPU time, over %d of them", (w.cpuTime(w.Vswitchd.PID)-cpu)/time.Duration(n), n)
	if now := w.macStats(); now != stats {
		t.Errorf("MAC table: %+v, was %+v", now, stats)
	}
	if now, err := w.FlowPackets("br0"); err != nil || now != packets {
		t.Errorf("rules have counted %d frames, before %d, error %v", now, packets, err)
	}
	for _, p := range []*lab.Port{a.port, b.port} {
		frames, err := p.Drain(quiet)
		w.must(err)
		if frames = slices.DeleteFunc(frames, ofOVS); len(frames) > 0 {
			t.Errorf("%s got %d frames", p.Name, len(frames))
		}
	}
}

// cpuTime is what the first thread of a process has used; that of ovs-vswitchd
// answers commands.
func (w *world) cpuTime(pid int) time.Duration {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	w.must(err)
	ns, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(ns, 10, 64)
	w.must(err)
	return time.Duration(n)
}
