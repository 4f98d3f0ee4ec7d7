// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flag"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

var update = flag.Bool("update", false, "write the golden files")

// well is a host with nothing in the way.
func well() Facts {
	return Facts{
		Kernel: Kernel{Release: "6.12.117+deb12", BTF: true, BPFFS: true, Mount: "/sys/fs/bpf", Lockdown: "none",
			Sysctls: map[string]string{"net.core.bpf_jit_enable": "1", "net.core.bpf_jit_harden": "0", "kernel.bpf_stats_enabled": "0"}},
		CPUs: 16,
		Devices: []Device{
			{Link: plan.Link{Name: "eth0", Driver: "mlx5_core", MTU: 1500, Physical: true, Scattered: true}, Bridge: "br-ex", Port: "eth0", RXQueues: 16, TXQueues: 16},
			{Link: plan.Link{Name: "tap1", Driver: "tun", MTU: 1500}, Bridge: "br-ex", Port: "tap1", RXQueues: 8, TXQueues: 8},
		},
		Guests: []Guest{{PID: 77, Name: "vm1", Machine: "pc-q35-7.2", VCPUs: 4, VhostCPUs: map[int]string{78: "0-15"}, NICs: []NIC{
			{MAC: "52:54:00:00:00:01", Tap: "tap1", Queues: 8, Vhost: true, Off: map[string]bool{"csum": true, "host_tso4": true, "host_tso6": true, "host_ecn": true, "host_ufo": true}},
		}}},
		OVS: OVS{Version: "3.1.0", Bridges: []Bridge{
			{Name: "br-ex", Mode: plan.On, Aging: 300, Stations: 12, TableSize: 8192},
			{Name: "br-off", Mode: plan.Off, Aging: 300, TableSize: 8192},
		}},
		Daemon: Daemon{Running: true, Lane: "open", Version: "0.1.0"},
	}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *Facts)
		want   string // "level check object; …", what is ok left out
	}{
		{"well", func(*Facts) {}, ""},
		{"kernel too old", func(f *Facts) { f.Kernel.Release = "5.10.0-30-amd64" }, "problem kernel host"},
		{"kernel that tells less", func(f *Facts) { f.Kernel.Release = "6.1.0-56-amd64" }, "note kernel host"},
		{"kernel without a number", func(f *Facts) { f.Kernel.Release = "linux" }, "problem kernel host"},
		{"no BTF", func(f *Facts) { f.Kernel.BTF = false }, "warning btf host"},
		{"no bpffs", func(f *Facts) { f.Kernel.BPFFS = false }, "warning bpffs host"},
		{"lockdown", func(f *Facts) { f.Kernel.Lockdown = "confidentiality" }, "problem lockdown host"},
		{"lockdown that does no harm", func(f *Facts) { f.Kernel.Lockdown = "integrity" }, ""},
		{"no JIT", func(f *Facts) { f.Kernel.Sysctls["net.core.bpf_jit_enable"] = "0" }, "warning sysctl net.core.bpf_jit_enable"},
		{"hardened JIT", func(f *Facts) { f.Kernel.Sysctls["net.core.bpf_jit_harden"] = "2" }, "warning sysctl net.core.bpf_jit_harden"},
		{"statistics of programs", func(f *Facts) { f.Kernel.Sysctls["kernel.bpf_stats_enabled"] = "1" }, "warning sysctl kernel.bpf_stats_enabled"},
		{"sysctls that are not there", func(f *Facts) { f.Kernel.Sysctls = nil }, ""},
		{"no OVS", func(f *Facts) { f.OVS = OVS{Error: "no pidfile"} }, "problem openvswitch ovs-vswitchd"},
		{"OVS too old", func(f *Facts) { f.OVS.Version = "2.12.4" }, "problem openvswitch ovs-vswitchd"},
		{"no daemon", func(f *Facts) { f.Daemon = Daemon{} }, "warning daemon ovs-xdpd"},
		{"daemon hangs", func(f *Facts) { f.Daemon.Error = "does not answer" }, "problem daemon ovs-xdpd"},
		{"lane closed", func(f *Facts) { f.Daemon.Lane, f.Daemon.Why = "closed", "starting" }, "problem daemon ovs-xdpd"},
		{"losses unseen", func(f *Facts) { f.Daemon.LossesUnseen = "no BTF" }, "warning losses ovs-xdpd"},
		{"bad key", func(f *Facts) { f.OVS.Bridges[0].Errors = []string{"xdp-offload=yes"} }, "problem key br-ex"},
		{"bridge refused", func(f *Facts) {
			f.OVS.Bridges[0].Refusals = []plan.Refusal{{Subject: "br-ex", Reason: plan.FlowTable}}
		}, "problem flow-table br-ex"},
		{"bridge that does not ask would be refused", func(f *Facts) {
			f.OVS.Bridges[1].Refusals = []plan.Refusal{{Subject: "br-off", Reason: plan.FlowTable}}
		}, "note flow-table br-off"},
		{"ports refused", func(f *Facts) {
			f.OVS.Bridges[0].Refusals = []plan.Refusal{{Subject: "br-ex/br-ex", Reason: plan.InterfaceType}, {Subject: "br-ex/tap1", Reason: plan.QoS}}
		}, "warning qos br-ex/tap1; note interface-type br-ex/br-ex"},
		{"short aging", func(f *Facts) { f.OVS.Bridges[0].Aging = 15 }, "note aging br-ex"},
		{"MAC table full", func(f *Facts) { f.OVS.Bridges[0].Stations = 6600 }, "warning mac-table br-ex"},
		{"jumbo on an old kernel", func(f *Facts) { f.Kernel.Release, f.Devices[1].MTU = "5.15.0", 9000 }, "problem mtu tap1; note kernel host"},
		{"jumbo that the device does not take", func(f *Facts) { f.Devices[1].MTU = 9000 }, "note mtu tap1"},
		{"jumbo that it takes", func(f *Facts) { f.Devices[0].MTU = 9000 }, ""},
		{"bond mode", func(f *Facts) { f.Devices[0].BondMode = "balance-alb" }, "problem bond-mode eth0"},
		{"bond hash", func(f *Facts) { f.Devices[0].BondMode, f.Devices[0].BondHash = "802.3ad", "vlan+srcmac" }, "problem bond-mode eth0"},
		{"bond", func(f *Facts) { f.Devices[0].BondMode, f.Devices[0].BondHash = "802.3ad", "layer3+4" }, ""},
		{"few queues", func(f *Facts) { f.Devices[0].TXQueues = 8; f.Guests[0].VhostCPUs[78] = "0-7" }, "warning queues eth0"},
		{"few queues, vhost anywhere", func(f *Facts) { f.Devices[0].TXQueues = 8 }, "warning queues eth0; warning vhost-placement guest vm1 (pid 77)"},
		{"queues not known", func(f *Facts) { f.Devices[0].TXQueues = 0 }, ""},
		{"RPS", func(f *Facts) { f.Devices[0].RPS = true }, "warning rps eth0"},
		{"RFS", func(f *Facts) { f.Devices[1].RFS = true }, "warning rps tap1"},
		{"timestamps", func(f *Facts) { f.Devices[0].Timestamps = true }, "warning timestamps eth0"},
		{"veth", func(f *Facts) { f.Devices[1].Driver = "veth" }, "note veth-segmentation tap1"},
		{"veth without a program", func(f *Facts) { f.Devices[1].Driver, f.Devices[1].Unwatched = "veth", true }, ""},
		{"old machine", func(f *Facts) { f.Guests[0].Machine = "pc-i440fx-1.5" }, "warning machine-type guest vm1 (pid 77)"},
		{"machine of a distribution", func(f *Facts) { f.Guests[0].Machine = "pc-i440fx-rhel7.6.0" }, ""},
		{"guest checksums", func(f *Facts) { delete(f.Guests[0].NICs[0].Off, "csum") }, "warning guest-checksum guest vm1 (pid 77) tap1"},
		{"guest checksums that are finished", func(f *Facts) {
			delete(f.Guests[0].NICs[0].Off, "csum")
			f.Daemon.FinishChecksums = true
		}, ""},
		{"guest TSO", func(f *Facts) { delete(f.Guests[0].NICs[0].Off, "host_tso4") }, "note guest-offloads guest vm1 (pid 77) tap1"},
		{"guest queues", func(f *Facts) { f.Guests[0].NICs[0].Queues = 4 }, "note guest-queues guest vm1 (pid 77) tap1"},
		{"no vhost", func(f *Facts) { f.Guests[0].NICs[0].Vhost = false }, "note vhost guest vm1 (pid 77) tap1"},
		{"unread", func(f *Facts) { f.Unread = []string{"network devices: operation not permitted"} }, "warning unread host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := well()
			tt.change(&f)
			r := Judge(f)
			var got []string
			for _, x := range r.Findings {
				if x.Level == OK {
					continue
				}
				got = append(got, fmt.Sprintf("%s %s %s", x.Level, x.Check, x.Object))
				if x.Why == "" || x.Found == "" && x.Check != "flow-table" && !strings.Contains(x.Object, "/") {
					t.Errorf("%+v does not say what was found, or why it matters", x)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			worst := OK
			if tt.want != "" {
				worst = Level(strings.Fields(tt.want)[0])
			}
			if r.Worst != worst {
				t.Errorf("worst is %s, want %s", r.Worst, worst)
			}
		})
	}
}

// Every reason of a refusal has a remedy, or at least says why it matters.
func TestEveryReasonHasARemedy(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../plan/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			n++
			reason := plan.Reason(strings.Trim(lit.Value, `"`))
			if remedies[reason].why == "" {
				t.Errorf("reason %s has none", reason)
			}
		}
		return true
	})
	if n < 30 {
		t.Errorf("only %d reasons found in sync/plan/refusal.go", n)
	}
}

func TestText(t *testing.T) {
	f := well()
	f.Kernel.BPFFS = false
	f.OVS.Bridges[0].Refusals = []plan.Refusal{
		{Subject: "br-ex", Reason: plan.InBand, Detail: "controller tcp:192.0.2.1:6653 is in-band"},
		{Subject: "br-ex/tap1", Reason: plan.QoS, Detail: "Port:qos is set"},
	}
	f.Guests[0].NICs[0].Queues = 4
	got := Judge(f).Text()
	golden := filepath.Join("testdata", "report.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
