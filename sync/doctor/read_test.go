// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

func TestParseQEMU(t *testing.T) {
	off := func(names ...string) map[string]bool {
		m := make(map[string]bool)
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	for _, tt := range []struct {
		name, line string
		want       Guest
		ok         bool
	}{
		{"by hand", "/usr/bin/qemu-system-x86_64 -M q35 -smp 4,sockets=1 -enable-kvm -m 1G -netdev tap,id=n0,ifname=tap0,script=no,vhost=on,queues=8 -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01,csum=off,host_tso4=off,mq=on",
			Guest{Machine: "q35", VCPUs: 4, NICs: []NIC{{MAC: "52:54:00:00:00:01", Tap: "tap0", Queues: 8, Vhost: true, Off: off("csum", "host_tso4")}}}, true},
		{"libvirt 6", "/usr/bin/qemu-system-x86_64 -name guest=vm,,1,debug-threads=on -machine pc-i440fx-4.1,accel=kvm,usb=off -smp 2,sockets=2,cores=1,threads=1 -netdev tap,fds=26:28,id=hostnet0,vhost=on,vhostfds=29:30 -device virtio-net-pci,csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,mq=on,vectors=6,netdev=hostnet0,id=net0,mac=52:54:00:3e:fe:3f,bus=pci.0,addr=0x3",
			Guest{Name: "vm,1", Machine: "pc-i440fx-4.1", VCPUs: 2, NICs: []NIC{{MAC: "52:54:00:3e:fe:3f", Queues: 2, Vhost: true, Fds: []int{26, 28},
				Off: off("csum", "gso", "host_tso4", "host_tso6", "host_ecn", "host_ufo")}}}, true},
		{"libvirt 9", `/usr/libexec/qemu-kvm -name guest=vm2 -machine pc-q35-rhel9.2.0,usb=off -smp 8,maxcpus=16 -netdev {"type":"tap","fd":"33","vhost":true,"vhostfd":"35","id":"hostnet0"} -device {"driver":"virtio-net-pci","csum":false,"netdev":"hostnet0","id":"net0","mac":"fa:16:3e:00:00:01"} -netdev user,id=u -device e1000,netdev=u`,
			Guest{Name: "vm2", Machine: "pc-q35-rhel9.2.0", VCPUs: 8, NICs: []NIC{{MAC: "fa:16:3e:00:00:01", Queues: 1, Vhost: true, Fds: []int{33}, Off: off("csum")}}}, true},
		{"nothing said", "qemu-system-aarch64 -nographic", Guest{VCPUs: 1}, true},
		{"another program", "/usr/sbin/ovs-vswitchd -M x", Guest{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ParseQEMU(strings.Fields(tt.line))
			if diff := cmp.Diff(tt.want, got); diff != "" || ok != tt.ok {
				t.Errorf("ok %v, guest (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func FuzzParseQEMU(f *testing.F) {
	f.Add("qemu-system-x86_64\x00-smp\x004,cpus=\x00-netdev\x00tap,fds=:\x00-device\x00{\"driver\":1}")
	f.Add("kvm\x00-device\x00virtio-net,netdev=\x00-netdev\x00type=tap,id=,queues=-1")
	f.Fuzz(func(t *testing.T, line string) {
		g, ok := ParseQEMU(strings.Split(line, "\x00"))
		if ok && g.VCPUs < 1 {
			t.Errorf("%d vCPUs", g.VCPUs)
		}
		for _, n := range g.NICs {
			if n.Queues < 1 {
				t.Errorf("%d queues", n.Queues)
			}
		}
	})
}

// write makes a tree of files, as proc and sys have them.
func write(t *testing.T, files map[string]string) root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root(dir)
}

func TestReadKernel(t *testing.T) {
	r := write(t, map[string]string{
		"proc/sys/kernel/osrelease":        "6.1.0-56-amd64\n",
		"proc/sys/net/core/bpf_jit_enable": "1\n",
		"proc/sys/net/core/bpf_jit_harden": "2\n",
		"proc/self/mounts":                 "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\n",
		"sys/kernel/btf/vmlinux":           "x",
		"sys/kernel/security/lockdown":     "none [integrity] confidentiality\n",
		"sys/devices/system/cpu/online":    "0-3,8,10-11\n",
	})
	want := Kernel{Release: "6.1.0-56-amd64", BTF: true, BPFFS: true, Mount: "/sys/fs/bpf", Lockdown: "integrity",
		Sysctls: map[string]string{"net.core.bpf_jit_enable": "1", "net.core.bpf_jit_harden": "2"}}
	if diff := cmp.Diff(want, r.kernel("/sys/fs/bpf")); diff != "" {
		t.Errorf("kernel (-want +got):\n%s", diff)
	}
	if n := r.cpus(); n != 7 {
		t.Errorf("%d CPUs, want 7", n)
	}
	empty := write(t, nil)
	if k := empty.kernel("/sys/fs/bpf"); k.BTF || k.BPFFS || k.Release != "" || k.Lockdown != "" || empty.cpus() != 0 {
		t.Errorf("of nothing: %+v, %d CPUs", k, empty.cpus())
	}
}

func TestReadDevice(t *testing.T) {
	r := write(t, map[string]string{
		"sys/class/net/bond0/ifindex":                      "7\n",
		"sys/class/net/bond0/bonding/mode":                 "802.3ad 4\n",
		"sys/class/net/bond0/bonding/xmit_hash_policy":     "vlan+srcmac 5\n",
		"sys/class/net/bond0/queues/rx-0/rps_cpus":         "0000,0000ffff\n",
		"sys/class/net/bond0/queues/rx-0/rps_flow_cnt":     "0\n",
		"sys/class/net/bond0/queues/rx-1/rps_cpus":         "0000,00000000\n",
		"sys/class/net/bond0/queues/tx-0/tx_timeout":       "0\n",
		"sys/class/net/elsewhere/ifindex":                  "9\n",
		"sys/class/net/elsewhere/queues/rx-0/rps_cpus":     "f\n",
		"sys/class/net/steered/ifindex":                    "11\n",
		"sys/class/net/steered/queues/rx-0/rps_flow_cnt":   "4096\n",
		"sys/class/net/steered/queues/rx-0/rps_cpus":       "00\n",
		"sys/class/net/steered/queues/tx-0/byte_queue":     "",
		"sys/class/net/steered/queues/tx-1/byte_queue":     "",
		"sys/class/net/steered/queues/tx-1/xps_cpus_extra": "",
	})
	for _, want := range []Device{
		{Link: plan.Link{Name: "bond0", IfIndex: 7}, RXQueues: 2, TXQueues: 1, RPS: true, BondMode: "802.3ad", BondHash: "vlan+srcmac"},
		{Link: plan.Link{Name: "elsewhere", IfIndex: 10}}, // of another network namespace
		{Link: plan.Link{Name: "steered", IfIndex: 11}, RXQueues: 1, TXQueues: 2, RFS: true},
		{Link: plan.Link{Name: "none", IfIndex: 12}},
	} {
		got := Device{Link: want.Link}
		r.device(&got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("device (-want +got):\n%s", diff)
		}
	}
}

func TestReadGuests(t *testing.T) {
	r := write(t, map[string]string{
		"proc/100/cmdline":         strings.ReplaceAll("qemu-system-x86_64 -name vm1 -netdev tap,fd=26,id=n0,vhost=on -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01", " ", "\x00") + "\x00",
		"proc/100/comm":            "qemu-system-x86\n",
		"proc/100/fdinfo/26":       "pos:\t0\nflags:\t0104002\nmnt_id:\t15\niff:\ttap7\n",
		"proc/101/comm":            "vhost-100\n", // a kernel thread, before Linux 6.4
		"proc/101/status":          "Name:\tvhost-100\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n",
		"proc/101/cmdline":         "",
		"proc/100/task/105/comm":   "vhost-100\n",
		"proc/100/task/105/status": "Cpus_allowed_list:\t2\n",
		"proc/102/comm":            "vhost-1000\n",
		"proc/102/status":          "Cpus_allowed_list:\t0-63\n",
		"proc/200/cmdline":         "/usr/sbin/ovs-vswitchd\x00--pidfile\x00",
	})
	want := []Guest{{PID: 100, Name: "vm1", VCPUs: 1, VhostCPUs: map[int]string{101: "0-7", 105: "2"},
		NICs: []NIC{{MAC: "52:54:00:00:00:01", Tap: "tap7", Queues: 1, Vhost: true, Fds: []int{26}, Off: map[string]bool{}}}}}
	if diff := cmp.Diff(want, r.guests()); diff != "" {
		t.Errorf("guests (-want +got):\n%s", diff)
	}
}

// A bridge that is off is judged as if it asked for the lane, and its mode told.
func TestBridges(t *testing.T) {
	snap := &ovs.Snapshot{Bridges: []ovs.Bridge{
		{Name: "br0", OtherConfig: map[string]string{"mac-aging-time": "30", "mac-table-size": "100"},
			Detail: &ovs.Detail{FDB: make([]ovs.FDBEntry, 3)}},
		{Name: "br1", ExternalIDs: map[string]string{"xdp-offload": "on"}, DetailError: "not answered"},
		{Name: "br2", ExternalIDs: map[string]string{"xdp-offload": "yes"}},
	}}
	got := bridges(snap, nil, plan.Policy{})
	if len(got) != 3 || got[0].Mode != plan.Off || got[1].Mode != plan.On || len(got[2].Errors) != 1 {
		t.Fatalf("bridges: %+v", got)
	}
	for i, b := range got {
		if len(b.Refusals) == 0 {
			t.Errorf("nothing of %s is refused", b.Name)
		}
		if i == 0 && (b.Aging != 30 || b.TableSize != 100 || b.Stations != 3) {
			t.Errorf("%+v", b)
		}
	}
	if snap.Bridges[0].ExternalIDs != nil {
		t.Error("the snapshot was changed")
	}
}
