// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb/ovstest"
)

func read(t *testing.T, s *Session) *ovs.Snapshot {
	t.Helper()
	snap, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func bridgeNamed(t *testing.T, snap *ovs.Snapshot, name string) ovs.Bridge {
	t.Helper()
	for _, b := range snap.Bridges {
		if b.Name == name {
			return b
		}
	}
	t.Fatalf("no bridge %s in %+v", name, snap.Bridges)
	return ovs.Bridge{}
}

func portNamed(t *testing.T, b ovs.Bridge, name string) ovs.Port {
	t.Helper()
	for _, p := range b.Ports {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no port %s in bridge %s", name, b.Name)
	return ovs.Port{}
}

func TestReadWithoutAnyRow(t *testing.T) {
	o := ovstest.StartDatabase(t)
	o.Vsctl("--no-wait", "emer-reset")
	o.Run("ovsdb-client", "transact", "unix:"+o.DBSocket(),
		`["Open_vSwitch",{"op":"delete","table":"Open_vSwitch","where":[]}]`)
	if diff := cmp.Diff(&ovs.Snapshot{}, read(t, dialTo(t, o))); diff != "" {
		t.Error(diff)
	}
}

// Every column that the Snapshot has, set in the database and read back. No
// ovs-vswitchd runs, so that nothing but the test writes.
func TestReadColumns(t *testing.T) {
	o := ovstest.StartDatabase(t)
	vsctl := func(args ...string) { t.Helper(); o.Vsctl(append([]string{"--no-wait"}, args...)...) }
	vsctl("set", "open_vswitch", ".", "ovs_version=3.1.0",
		"other_config:hw-offload=true", "other_config:flow-restore-wait=TRUE", "other_config:max-idle=7000")
	vsctl("add-br", "zz", "--", "add-br", "br0",
		"--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure", "stp_enable=true",
		"rstp_enable=true", "flood_vlans=30,10", "other_config:mac-aging-time=60",
		"--", "br-set-external-id", "br0", "xdp-offload", "on",
		"--", "br-set-external-id", "br0", "xdp-vlans", "10,20-29",
		"--", "--id=@s", "create", "sflow", `targets="127.0.0.1"`, "--", "set", "bridge", "br0", "sflow=@s",
		"--", "--id=@n", "create", "netflow", `targets="127.0.0.1:1"`, "--", "set", "bridge", "br0", "netflow=@n",
		"--", "--id=@i", "create", "ipfix", `targets="127.0.0.1:2"`, "--", "set", "bridge", "br0", "ipfix=@i",
		"--", "--id=@b", "get", "bridge", "br0",
		"--", "create", "flow_sample_collector_set", "id=1", "bridge=@b")
	vsctl("set-controller", "br0", "tcp:192.0.2.2:6653", "tcp:192.0.2.1:6653")
	vsctl("--", "--", "set", "controller",
		o.Vsctl("--bare", "--columns=_uuid", "find", "controller", `target="tcp:192.0.2.2:6653"`),
		"connection_mode=out-of-band")
	vsctl("add-port", "br0", "acc", "tag=10", "--", "set", "port", "acc", "protected=true", "lacp=off",
		"external_ids:xdp-offload=target", "other_config:priority-tags=always",
		"status:stp_state=STP_FORWARDING", "status:stp_sec_in_state=77", "rstp_status:rstp_port_state=Forwarding",
		"--", "--id=@q", "create", "qos", "type=linux-htb", "--", "set", "port", "acc", "qos=@q")
	vsctl("add-port", "br0", "trk", "trunks=30,20", "vlan_mode=trunk",
		"--", "add-port", "br0", "ntg", "tag=0", "vlan_mode=native-tagged",
		"--", "add-port", "br0", "nun", "tag=4095", "vlan_mode=native-untagged")
	vsctl("add-bond", "br0", "bond", "e1", "e0", "bond_mode=balance-tcp", "lacp=active",
		"--", "set", "port", "bond", `bond_active_slave="02:00:00:00:00:01"`)
	vsctl("set", "interface", "acc", "type=dpdk", "ofport=7", "ifindex=4294967295",
		`error="could not open \"x\""`, "admin_state=up", "link_state=down", "ingress_policing_rate=1000",
		"bfd:enable=true", "cfm_mpid=5", "options:dpdk-devargs=0", "other_config:a=b",
		`external_ids:attached-mac="52:54:00:12:34:56"`, `external_ids:odd="a=b, \"c\"; {d} \\ ü\n[]"`)
	vsctl("set", "interface", "trk", "ofport=-1", "ingress_policing_kpkts_rate=3", "ingress_policing_kpkts_burst=4")
	vsctl("--", "--id=@m", "create", "mirror", "name=m0", "select_vlan=12,11", "output_vlan=99",
		"--", "--id=@a", "get", "port", "acc", "--", "--id=@t", "get", "port", "trk", "--", "--id=@n", "get", "port", "nun",
		"--", "--id=@k", "create", "mirror", "name=a0", "select_all=true", "select_src_port=@t,@a", "select_dst_port=@a", "output_port=@n",
		"--", "set", "bridge", "br0", "mirrors=@m,@k")
	vsctl("add-br", "fake", "br0", "42")

	snap := read(t, dialTo(t, o))
	var names []string
	for _, b := range snap.Bridges {
		names = append(names, b.Name)
		if b.UUID != o.Vsctl("get", "bridge", b.Name, "_uuid") {
			t.Errorf("bridge %s: UUID %s", b.Name, b.UUID)
		}
		for _, p := range b.Ports {
			if p.UUID != o.Vsctl("get", "port", p.Name, "_uuid") {
				t.Errorf("port %s: UUID %s", p.Name, p.UUID)
			}
			for _, i := range p.Interfaces {
				if i.UUID != o.Vsctl("get", "interface", i.Name, "_uuid") {
					t.Errorf("interface %s: UUID %s", i.Name, i.UUID)
				}
			}
		}
	}
	if diff := cmp.Diff([]string{"br0", "zz"}, names); diff != "" {
		t.Errorf("bridges: %s", diff)
	}
	if zz := snap.Bridges[1]; zz.FailMode != "standalone" || zz.SFlow || zz.NetFlow || zz.IPFIX || zz.FlowSampling {
		t.Errorf("a bridge with empty columns: %+v", zz)
	}

	tag := func(v ovs.VLAN) *ovs.VLAN { return &v }
	plain := func(name, kind string) ovs.Port {
		return ovs.Port{Name: name, Interfaces: []ovs.Interface{{Name: name, Type: kind}}}
	}
	acc, trk, ntg, nun := plain("acc", "dpdk"), plain("trk", ""), plain("ntg", ""), plain("nun", "")
	acc.Tag, acc.Protected, acc.QoS, acc.LACP = tag(10), true, true, "off"
	acc.ExternalIDs = map[string]string{"xdp-offload": "target"}
	acc.OtherConfig = map[string]string{"priority-tags": "always"}
	acc.Status = map[string]string{"stp_state": "STP_FORWARDING"}
	acc.RSTPStatus = map[string]string{"rstp_port_state": "Forwarding"}
	acc.Interfaces[0] = ovs.Interface{
		Name: "acc", Type: "dpdk", OFPort: 7, IfIndex: 4294967295, Error: `could not open "x"`,
		AdminState: "up", LinkState: "down", Policing: ovs.Policing{Rate: 1000}, BFD: true, CFM: true,
		ExternalIDs: map[string]string{"attached-mac": "52:54:00:12:34:56", "odd": "a=b, \"c\"; {d} \\ ü\n[]"},
		OtherConfig: map[string]string{"a": "b"}, Options: map[string]string{"dpdk-devargs": "0"},
	}
	trk.Trunks, trk.VLANMode = []ovs.VLAN{20, 30}, "trunk"
	trk.Interfaces[0].OFPort, trk.Interfaces[0].Policing = -1, ovs.Policing{PacketRate: 3, PacketBurst: 4}
	ntg.Tag, ntg.VLANMode = tag(0), "native-tagged"
	nun.Tag, nun.VLANMode = tag(4095), "native-untagged"
	fake := plain("fake", "internal")
	fake.Tag = tag(42)
	want := &ovs.Snapshot{
		Version: "3.1.0", HWOffload: true, FlowRestoreWait: true, MaxIdle: 7 * time.Second,
		Bridges: []ovs.Bridge{{
			Name: "br0", DatapathType: "netdev", FailMode: "secure", STP: true, RSTP: true,
			FloodVLANs: []ovs.VLAN{10, 30}, SFlow: true, NetFlow: true, IPFIX: true, FlowSampling: true,
			Mirrors: []ovs.Mirror{
				{Name: "a0", SelectAll: true, SelectSrcPorts: []string{"acc", "trk"}, SelectDstPorts: []string{"acc"}, OutputPort: "nun"},
				{Name: "m0", SelectVLANs: []ovs.VLAN{11, 12}, OutputVLAN: tag(99)},
			},
			Controllers: []ovs.Controller{
				{Target: "tcp:192.0.2.1:6653"}, {Target: "tcp:192.0.2.2:6653", ConnectionMode: "out-of-band"},
			},
			ExternalIDs: map[string]string{"xdp-offload": "on", "xdp-vlans": "10,20-29"},
			OtherConfig: map[string]string{"mac-aging-time": "60"},
			Ports: []ovs.Port{
				acc,
				{
					Name: "bond", BondMode: "balance-tcp", LACP: "active", BondActiveMember: "02:00:00:00:00:01",
					Interfaces: []ovs.Interface{{Name: "e0"}, {Name: "e1"}},
				},
				plain("br0", "internal"), fake, ntg, nun, trk,
			},
		}},
	}
	snap.Bridges = snap.Bridges[:1]
	ignoreUUIDs := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".UUID" }, cmp.Ignore())
	if diff := cmp.Diff(want, snap, cmpopts.EquateEmpty(), ignoreUUIDs); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

// What ovs-vswitchd itself writes.
func TestReadBesideDaemon(t *testing.T) {
	o := ovstest.Start(t)
	o.Run("ip", "link", "add", "vm0", "type", "veth", "peer", "name", "vm0p")
	o.Run("ip", "link", "set", "vm0", "up")
	o.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "--",
		"add-port", "br0", "vm0", "--", "set", "interface", "vm0", "ofport_request=12", "--",
		"add-port", "br0", "gone")
	s := dialTo(t, o)
	settle(s)
	snap := read(t, s)
	b := bridgeNamed(t, snap, "br0")
	vm0 := portNamed(t, b, "vm0").Interfaces[0]
	index, _, _ := strings.Cut(o.Run("ip", "-o", "link", "show", "vm0"), ":")
	ifindex, _ := strconv.Atoi(index)
	if vm0.OFPort != 12 || vm0.IfIndex != ifindex || vm0.AdminState != "up" || vm0.LinkState != "down" || vm0.Error != "" {
		t.Errorf("vm0: %+v, want OFPort 12, IfIndex %d, up, down", vm0, ifindex)
	}
	if gone := portNamed(t, b, "gone").Interfaces[0]; gone.OFPort != -1 || gone.Error == "" {
		t.Errorf("a port without a device: %+v, want OFPort -1 and an error", gone)
	}
	if lo := portNamed(t, b, "br0").Interfaces[0]; lo.OFPort != 65534 {
		t.Errorf("the bridge's own port: OFPort %d", lo.OFPort)
	}
	if again := read(t, s); !cmp.Equal(snap, again) {
		t.Errorf("equal states differ:\n%s", cmp.Diff(snap, again))
	}
	o.Run("ip", "link", "set", "vm0p", "up")
	within(t, 2*time.Second, s.Changed(), "link up")
	settle(s)
	if vm0 := portNamed(t, bridgeNamed(t, read(t, s), "br0"), "vm0").Interfaces[0]; vm0.LinkState != "up" {
		t.Errorf("vm0 after its peer went up: %+v", vm0)
	}
}

// editedSchema returns a copy of the installed schema after edit.
func editedSchema(t *testing.T, edit func(tables map[string]any)) string {
	t.Helper()
	text, err := os.ReadFile("/usr/share/openvswitch/vswitch.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	edit(schema["tables"].(map[string]any))
	delete(schema, "cksum")
	if text, err = json.Marshal(schema); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "schema")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func columns(tables map[string]any, table string) map[string]any {
	return tables[table].(map[string]any)["columns"].(map[string]any)
}

// A server older than Open vSwitch 2.16 has no ingress_policing_kpkts_rate.
func TestReadOlderSchema(t *testing.T) {
	o := ovstest.StartDatabase(t)
	o.KillDatabase()
	o.NewDatabase(editedSchema(t, func(tables map[string]any) {
		delete(columns(tables, "Interface"), "ingress_policing_kpkts_rate")
		delete(columns(tables, "Interface"), "ingress_policing_kpkts_burst")
	}))
	o.Vsctl("--no-wait", "add-br", "br0", "--", "set", "interface", "br0", "ingress_policing_rate=1", "ingress_policing_burst=2")
	s := dialTo(t, o)
	if i := read(t, s).Bridges[0].Ports[0].Interfaces[0]; i.Policing != (ovs.Policing{Rate: 1, Burst: 2}) || i.Name != "br0" {
		t.Errorf("interface: %+v", i)
	}
	settle(s)
	o.Vsctl("--no-wait", "set", "interface", "br0", "ingress_policing_rate=0")
	within(t, 2*time.Second, s.Changed(), "policing off")
	if i := read(t, s).Bridges[0].Ports[0].Interfaces[0]; i.Policing.Rate != 0 {
		t.Errorf("interface: %+v", i)
	}
}

// A column that keeps frames out of the fast path must not vanish unseen.
func TestDialRefusesForeignSchema(t *testing.T) {
	for name, edit := range map[string]func(tables map[string]any){
		"column missing": func(tables map[string]any) { delete(columns(tables, "Port"), "protected") },
		"table missing":  func(tables map[string]any) { delete(tables, "Flow_Sample_Collector_Set") },
		"index on a column that is not read": func(tables map[string]any) {
			tables["Mirror"].(map[string]any)["indexes"] = []any{[]any{"name", "snaplen"}}
		},
		"other type": func(tables map[string]any) { columns(tables, "Port")["protected"] = map[string]any{"type": "string"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := ovstest.StartDatabase(t)
			o.KillDatabase()
			o.NewDatabase(editedSchema(t, edit))
			s, err := Dial(t.Context(), "unix:"+o.DBSocket(), nil)
			if err == nil {
				s.Close()
				t.Fatal("Dial succeeded")
			}
			t.Log(err)
		})
	}
}

func TestJoinTorn(t *testing.T) {
	c := content{
		switches:    map[string]switchRow{"s": {UUID: "s", Bridges: []string{"b"}}},
		bridges:     map[string]bridgeRow{"b": {UUID: "b", Ports: []string{"p"}, Mirrors: []string{"m"}, Controllers: []string{"c"}}},
		ports:       map[string]portRow{"p": {UUID: "p", Interfaces: []string{"i"}}},
		interfaces:  map[string]interfaceRow{"i": {UUID: "i"}},
		mirrors:     map[string]mirrorRow{"m": {UUID: "m", SelectSrcPorts: []string{"p"}}},
		controllers: map[string]controllerRow{"c": {UUID: "c"}},
	}
	if _, err := c.join(); err != nil {
		t.Fatalf("whole: %v", err)
	}
	for name, tear := range map[string]func(c *content){
		"bridge":      func(c *content) { c.bridges = nil },
		"port":        func(c *content) { c.ports = nil },
		"interface":   func(c *content) { c.interfaces = nil },
		"mirror":      func(c *content) { c.mirrors = nil },
		"controller":  func(c *content) { c.controllers = nil },
		"source port": func(c *content) { c.mirrors = map[string]mirrorRow{"m": {SelectSrcPorts: []string{"x"}}} },
		"dest port":   func(c *content) { c.mirrors = map[string]mirrorRow{"m": {SelectDstPorts: []string{"x"}}} },
		"output port": func(c *content) { x := "x"; c.mirrors = map[string]mirrorRow{"m": {OutputPort: &x}} },
	} {
		torn := c
		tear(&torn)
		if _, err := torn.join(); !errors.Is(err, ErrTorn) {
			t.Errorf("%s missing: error %v, want ErrTorn", name, err)
		}
	}
}

// A host with a thousand ports.
func BenchmarkRead(b *testing.B) {
	o := ovstest.StartDatabase(b)
	args := []string{"--no-wait", "add-br", "br0"}
	for i := range 1000 {
		name := "tap" + strconv.Itoa(i)
		args = append(args, "--", "add-port", "br0", name, "tag="+strconv.Itoa(i),
			"--", "set", "interface", name, `external_ids:attached-mac="52:54:00:12:34:56"`, "external_ids:iface-status=active",
			"external_ids:iface-id=8b76b22d-9f2b-4dd0-a4a0-0c0d9a3a2d49", "external_ids:vm-id=8b76b22d-9f2b-4dd0-a4a0-0c0d9a3a2d49")
	}
	o.Vsctl(args...)
	s, err := Dial(b.Context(), "unix:"+o.DBSocket(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if _, err := s.Read(); err != nil {
			b.Fatal(err)
		}
	}
}
