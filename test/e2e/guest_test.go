// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// A talker is a machine that `traffic` runs in.
type talker struct {
	station
	name string
	addr netip.Prefix
	exec func(ctx context.Context, name string, args ...string) (string, error)
	// program is the path of traffic in the machine.
	program string
	// unfinished tells that its frames leave checksums to a device, finished that
	// the lane finishes them.
	unfinished, finished bool
}

// A virtual machine with a kernel and a virtio-net driver of its own talks to
// another machine and to one behind the uplink, from a card with offloads and
// from one without. What is finished takes the lane, what is not goes by OVS, in
// both directions, and all arrives.
func TestGuest(t *testing.T) { testGuest(t, false) }

// With --finish-checksums what is not finished takes the lane, too, where XDP
// can know that it may finish it.
func TestGuestWithFinishedChecksums(t *testing.T) { testGuest(t, true) }

func testGuest(t *testing.T, finish bool) {
	kernel, err := boot.Get(t.Context(), "6.12", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	if finish {
		args = append(args, finishFlag)
	}
	w := newWorld(t, args...)
	kernelDatapath := w.DatapathType == "system"
	if !kernelDatapath {
		w.userspaceTSO()
	}
	program, err := w.Traffic()
	w.must(err)

	addr := func(vlan, host byte) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, vlan, host}), 24)
	}
	var hosts []*lab.TrunkHost
	var cards []lab.Card
	for _, vlan := range []byte{10, 20} {
		hosts = append(hosts, &lab.TrunkHost{Name: fmt.Sprintf("h%d", vlan), VLAN: ovs.VLAN(vlan), Addr: addr(vlan, 3)})
		cards = append(cards, lab.Card{Name: fmt.Sprintf("g%d", vlan), NoOffloads: vlan == 20,
			PortOptions: lab.PortOptions{Addr: addr(vlan, 1), Columns: []string{fmt.Sprintf("tag=%d", vlan)}}})
	}
	up, err := w.AddTrunk("br0", "up", false, lab.PortOptions{}, hosts...)
	w.must(err)
	guest, err := w.AddGuest("br0", kernel, cards...)
	w.must(err)
	t.Logf("the guest runs; datapath %s, vhost %v", w.DatapathType, guest.Vhost)
	w.doctorSees(guest.QEMU.PID, finish)
	if kernelDatapath && !guest.Vhost {
		t.Error("the kernel does not serve the cards, and can't")
	}
	_, err = guest.Exec(t.Context(), "sh", "-c", "traffic serve :7 >/dev/null 2>&1 &")
	w.must(err)
	w.mode("on")

	for i, c := range cards {
		w.run(map[bool]string{false: "offloads", true: "no offloads"}[c.NoOffloads], func(w *world) {
			vlan := hosts[i].VLAN
			o := lab.PortOptions{Addr: addr(byte(vlan), 2), Columns: c.Columns}
			// OVS's userspace datapath loses what a veth leaves unfinished.
			o.TxChecksum = kernelDatapath && !c.NoOffloads
			v, err := w.AddVeth("br0", fmt.Sprintf("v%d", vlan), o)
			w.must(err)
			g := talker{station{port: guest.Ports[i], mac: guest.Ports[i].MAC, vlan: vlan}, c.Name, c.Addr, guest.Exec, "traffic", !c.NoOffloads, finish && !lab.TapsTakeMetadata()}
			vm := talker{untagged(v, vlan), v.Name, o.Addr, v.VM.Exec, program, o.TxChecksum, finish}
			far := talker{tagged(up.Port, hosts[i].MAC, vlan), hosts[i].Name, hosts[i].Addr, hosts[i].VM.Exec, program, false, false}
			for _, n := range []*lab.Namespace{v.VM, hosts[i].VM} {
				_, err := w.Start(n, program, "serve", ":7")
				w.must(err)
			}
			for _, other := range []talker{vm, far} {
				w.run(other.name, func(w *world) { w.talk(g, other) })
			}
			for _, s := range []talker{g, vm, far} {
				w.checksumsRight(s)
			}
		})
	}
}

// talk has two machines talk, each beginning in turn, and checks which way the
// frames of each went.
func (w *world) talk(g, other talker) {
	w.t.Helper()
	// They get to know each other, and OVS and the lane them.
	w.must(lab.Eventually(3*settle, func() error {
		for _, d := range [][2]talker{{g, other}, {other, g}} {
			if err := d[0].udp(w, d[1], 1); err != nil {
				return err
			}
		}
		rows, err := w.FDB()
		for _, s := range []talker{g, other} {
			if err == nil && !slices.ContainsFunc(rows, func(r lab.FDBRow) bool {
				return r.VLAN == int(s.vlan) && r.MAC == s.mac.String() && r.Port == s.port.Name && r.State == "lane"
			}) {
				err = fmt.Errorf("%s is not on the lane: %+v", s.name, rows)
			}
		}
		return err
	}))

	// Less where a machine emulates the machine that emulates the guest.
	p := int(lab.Patience())
	datagrams, bytes := 200/(p*p), 4<<20/(p*p*p)
	before, droppedBefore := w.counts(), w.droppedByOVS()
	for _, d := range [][2]talker{{g, other}, {other, g}} {
		w.must(d[0].udp(w, d[1], datagrams))
		w.must(d[0].tcp(w, d[1], bytes))
	}
	var after counts
	w.eventually(func() error { // the last frames are on their way
		dropped := w.droppedByOVS() - droppedBefore
		after = w.counts()
		if n := passed(after) - passed(before); n > after.rules-before.rules+dropped {
			return fmt.Errorf("%d frames were passed to OVS, its rules have seen %d, and %d found its queue full", n, after.rules-before.rules, dropped)
		}
		return nil
	})
	for _, d := range [][2]talker{{g, other}, {other, g}} {
		from, to := d[0], d[1]
		p := before.to(after, from.port.Name)
		w.t.Logf("%s to %s: %s", from.name, to.name, p)
		// Starved of CPU, the daemon closes the lane for a while.
		judged := p.lane + p.passed - p.reasons["keepalive"] - p.reasons["lease"]
		if judged < uint64(2*datagrams) {
			w.t.Errorf("%s sent too few frames to tell: %s", from.name, p)
		}
		finished := after.ports[from.port.Name].RX.Finished - before.ports[from.port.Name].RX.Finished
		if from.unfinished && from.finished {
			judged -= p.reasons["too-long"]
			if p.lane*10 < judged*9 || finished*10 < p.lane*9 || p.sent[to.port.Name] < p.lane {
				w.t.Errorf("unfinished frames of %s should be finished, %d were, and take the lane to %s: %s", from.name, finished, to.port.Name, p)
			}
		} else if finished > 10 { // of 65536 finished ones one looks unfinished
			w.t.Errorf("%d frames of %s were finished: %s", finished, from.name, p)
		} else if from.unfinished {
			if n := p.reasons["checksum"] + p.reasons["too-long"]; p.lane*20 > judged || n*10 < judged*9 {
				w.t.Errorf("unfinished frames of %s should go by OVS: %s", from.name, p)
			}
		} else if p.lane*10 < judged*9 || p.sent[to.port.Name] < p.lane {
			w.t.Errorf("frames of %s should take the lane to %s: %s", from.name, to.port.Name, p)
		}
		// A veth with a program on it takes frames that are segmented already.
		if from.unfinished && from.port.Kind == "tap" && p.reasons["too-long"] == 0 {
			w.t.Errorf("%s has sent no frame that is to be segmented: %s", from.name, p)
		}
	}
}

// passed returns how many frames of all ports went to OVS.
func passed(c counts) (n uint64) {
	for _, p := range c.ports {
		n += p.RX.OVS
	}
	return n
}

var socketDrops = regexp.MustCompile(`"ovs-vswitchd".*[(,]d(\d+)\)`)

// droppedByOVS returns how many frames OVS's userspace datapath has lost because
// the queue of a port was full (ss -m: "skmem:(r0,rb212992,…,d2)"). Two or three
// frames of 64 KiB fill one, with the lane or without.
func (w *world) droppedByOVS() (n uint64) {
	w.t.Helper()
	out, err := w.Hypervisor.Exec(w.t.Context(), "ss", "--packet", "--memory", "--processes", "--numeric")
	w.must(err)
	for _, m := range socketDrops.FindAllStringSubmatch(out, -1) {
		d, err := strconv.ParseUint(m[1], 10, 64)
		w.must(err)
		n += d
	}
	return n
}

func (from talker) tcp(w *world, to talker, bytes int) error {
	out, err := from.exec(w.t.Context(), from.program, "tcp", netip.AddrPortFrom(to.addr.Addr(), 7).String(), strconv.Itoa(bytes))
	w.t.Logf("TCP from %s to %s: %s", from.name, to.name, strings.TrimSpace(out))
	return err
}

func (from talker) udp(w *world, to talker, datagrams int) error {
	wait := 10 * time.Second * lab.Patience()
	if datagrams == 1 {
		wait = time.Second * lab.Patience() // it may be lost, and is sent again
	}
	_, err := from.exec(w.t.Context(), from.program, "udp", netip.AddrPortFrom(to.addr.Addr(), 7).String(), strconv.Itoa(datagrams), wait.String())
	return err
}

// checksumsRight checks that no wrong checksum has come to a machine.
func (w *world) checksumsRight(s talker) {
	w.t.Helper()
	out, err := s.exec(w.t.Context(), "cat", "/proc/net/snmp")
	w.must(err)
	for _, proto := range []string{"Tcp:", "Udp:"} {
		var rows [][]string // names, values
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[0] == proto {
				rows = append(rows, f)
			}
		}
		found := false
		for i := range rows[0] {
			if rows[0][i] == "InCsumErrors" {
				found = true
				if rows[1][i] != "0" {
					w.t.Errorf("%s got %s segments or datagrams with a wrong checksum (%s)", s.name, rows[1][i], proto)
				}
			}
		}
		if !found {
			w.t.Errorf("%s counts no wrong checksums: %s", s.name, out)
		}
	}
}

// userspaceTSO has OVS's userspace datapath take frames whose checksum is not
// finished, and frames to be segmented; otherwise it loses them.
func (w *world) userspaceTSO() {
	w.t.Helper()
	_, err := w.OVS("set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true")
	w.must(err)
	w.Vswitchd.Kill() // it reads this once, when it starts
	w.must(w.StartVswitchd())
}
