// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// finding is one of ovs-xdpctl doctor.
type finding struct{ Check, Object, Level, Found, Mend string }

// doctor runs it on the hypervisor, with a /sys of that network namespace, and
// returns its exit code and what it found, by check and object.
func (w *world) doctor(bpffs string) (code int, found map[string]finding) {
	w.t.Helper()
	bin, err := lab.Binaries()
	w.must(err)
	c := exec.CommandContext(context.Background(), "ip", "netns", "exec", w.Hypervisor.Name, filepath.Join(bin, "ovs-xdpctl"), "doctor", "-o", "json", "--bpffs="+bpffs)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+w.RunDir)
	out, err := c.Output()
	if err != nil && c.ProcessState == nil {
		w.t.Fatal(err)
	}
	var r struct {
		Findings []finding
		Worst    string
	}
	if err := json.Unmarshal(out, &r); err != nil {
		w.t.Fatalf("doctor: %v: %s", err, out)
	}
	found = make(map[string]finding)
	for _, f := range r.Findings {
		found[f.Check+" "+f.Object] = f
	}
	if code := c.ProcessState.ExitCode(); code != map[string]int{"ok": 0, "note": 0, "warning": 10, "problem": 11}[r.Worst] {
		w.t.Errorf("exit code %d, the worst is %s", code, r.Worst)
	}
	return c.ProcessState.ExitCode(), found
}

// The doctor finds what is wrong with a real bridge and a real host, names the
// command that mends it, and is content afterwards.
func TestDoctor(t *testing.T) {
	w := &world{Lab: lab.NewT(t), t: t}
	w.must(w.AddBridge("br0"))
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	_ = w.port((*lab.Lab).AddVeth, "v2", lab.PortOptions{NoGRO: true})
	bpffs := filepath.Join(w.Dir, "bpf")
	expect := func(found map[string]finding, key, level, mend string) {
		t.Helper()
		if f := found[key]; f.Level != level || !strings.Contains(f.Mend, mend) {
			t.Errorf("%s: %+v, want %s, and %q to mend it; found %v", key, f, level, mend, found)
		}
	}
	// Nothing runs, nothing asks.
	w.set("mirrors=@m", "--", "--id=@m", "create", "mirror", "name=m", "select_all=true")
	w.set("other_config:mac-aging-time=20")
	if code, found := w.doctor(bpffs); code != 10 {
		t.Errorf("without a daemon: code %d: %v", code, found)
	} else {
		expect(found, "daemon ovs-xdpd", "warning", "systemctl start")
		expect(found, "bpffs host", "warning", "mount -t bpf bpf "+bpffs)
		expect(found, "mirror br0", "note", "clear bridge br0 mirrors") // would be, if it asked
		expect(found, "aging br0", "note", "mac-aging-time=300")
		expect(found, "openvswitch ovs-vswitchd", "ok", "")
	}
	w.bpffs()
	w.start()
	w.set("external_ids:xdp-offload=on")
	w.state("refused")
	code, found := w.doctor(bpffs)
	if code != 11 {
		t.Errorf("with a bridge that is refused: code %d: %v", code, found)
	}
	expect(found, "mirror br0", "problem", "clear bridge br0 mirrors")

	// What it says mends it.
	_, err := w.OVS("clear", "bridge", "br0", "mirrors")
	w.must(err)
	w.set("other_config:mac-aging-time=300")
	w.state("on")
	code, found = w.doctor(bpffs)
	expect(found, "no-xdp-transmit br0/v2", "warning", "gro on")
	if code != 10 {
		t.Errorf("with a port that is refused: code %d: %v", code, found)
	}
	w.must(w.ports[2].Set("external_ids:xdp-offload=off"))
	w.noPrograms("v1", "t1")
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
	_, found = w.doctor(bpffs)
	expect(found, "port-off br0/v2", "note", "remove port v2 external_ids xdp-offload")
	for _, key := range []string{"daemon ovs-xdpd", "bpffs host", "device t1"} {
		expect(found, key, "ok", "")
	}
	expect(found, "veth-segmentation v1", "note", "xdp-offload=target")
	expect(found, "device v2", "ok", "")

	// A device's queues are found in the namespace's own sysfs.
	if _, err := w.Hypervisor.Exec(context.Background(), "ip", "netns", "exec", w.Hypervisor.Name, "sh", "-c",
		"echo 1 > /sys/class/net/v1/queues/rx-0/rps_cpus"); err != nil {
		t.Logf("this kernel has no RPS: %v", err)
	} else {
		_, found = w.doctor(bpffs)
		expect(found, "rps v1", "warning", "ethtool -L v1")
	}
	w.daemon.Kill()
	w.daemon = nil
	w.Vswitchd.Kill()
	if code, found := w.doctor(bpffs); code != 11 {
		t.Errorf("without OVS: code %d: %v", code, found)
	} else {
		expect(found, "openvswitch ovs-vswitchd", "problem", "systemctl start openvswitch-switch")
	}
	if text := fmt.Sprint(found); strings.Contains(text, "unread") {
		t.Errorf("something can't be read: %v", found)
	}
}

// doctorSees checks that the doctor reads a real QEMU's command line, of a guest
// whose card g10 has offloads, and g20 none.
func (w *world) doctorSees(qemu int, finish bool) {
	w.t.Helper()
	_, found := w.doctor("/sys/fs/bpf")
	guest := fmt.Sprintf("guest without a name (pid %d)", qemu)
	for key, want := range map[string]bool{
		"guest-checksum " + guest + " g10": !finish, "guest-checksum " + guest + " g20": false,
		"guest-offloads " + guest + " g10": true, "guest-offloads " + guest + " g20": false,
		"guest-queues " + guest + " g20": true,
	} {
		if _, got := found[key]; got != want {
			w.t.Errorf("doctor: finding %q: %v, want %v; found %v", key, got, want, found)
		}
	}
}
