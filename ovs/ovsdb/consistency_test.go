// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb/ovstest"
)

// transactor sends transactions over a connection of its own, much faster
// than ovs-vsctl.
func transactor(t *testing.T, o *ovstest.OVS) func(ops ...string) error {
	t.Helper()
	c, err := net.Dial("unix", o.DBSocket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	replies := json.NewDecoder(c)
	return func(ops ...string) error {
		params := `["Open_vSwitch"`
		for _, op := range ops {
			params += "," + op
		}
		if _, err := io.WriteString(c, `{"id":1,"method":"transact","params":`+params+`]}`); err != nil {
			return err
		}
		var reply struct {
			Result []struct{ Error, Details string }
			Error  any
		}
		if err := replies.Decode(&reply); err != nil {
			return err
		}
		for _, r := range reply.Result {
			if r.Error != "" {
				return fmt.Errorf("%s: %s", r.Error, r.Details)
			}
		}
		return nil
	}
}

func setPort(name, row string) string {
	return fmt.Sprintf(`{"op":"update","table":"Port","where":[["name","==",%q]],"row":{%s}}`, name, row)
}

// Every transaction writes one number to a port and to the interfaces of many.
// A picture with two different numbers is torn.
func TestReadIsOneMoment(t *testing.T) {
	o := ovstest.StartDatabase(t)
	args := []string{"--no-wait", "add-br", "br0"}
	for i := range 30 {
		args = append(args, "--", "add-port", "br0", fmt.Sprint("p", i))
	}
	o.Vsctl(args...)
	transact := transactor(t, o)
	write := func(n int) error {
		return transact(setPort("br0", fmt.Sprintf(`"tag":%d`, n%4096)),
			fmt.Sprintf(`{"op":"update","table":"Interface","where":[],"row":{"ofport":%d}}`, n%4096))
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	s := dialTo(t, o)
	stop, writes := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { writes <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(rand.N(20 * time.Millisecond)):
			}
			n++
			if err := write(n); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	reads, torn := 0, 0
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		snap, err := s.Read()
		if errors.Is(err, ErrTorn) {
			torn++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		reads++
		b := snap.Bridges[0]
		tag := int(*portNamed(t, b, "br0").Tag)
		for _, p := range b.Ports {
			if p.Interfaces[0].OFPort != tag {
				t.Fatalf("read %d: tag %d, but ofport %d at %s", reads, tag, p.Interfaces[0].OFPort, p.Name)
			}
		}
	}
	close(stop)
	t.Logf("%d reads, %d given up, beside %d transactions", reads, torn, <-writes)
	if reads == 0 {
		t.Error("no read succeeded")
	}
}

// A Read holds what was committed before it was called.
func TestReadIsFresh(t *testing.T) {
	o := ovstest.StartDatabase(t)
	o.Vsctl("--no-wait", "add-br", "br0")
	s := dialTo(t, o)
	transact := transactor(t, o)
	for i := range 1000 {
		if err := transact(setPort("br0", fmt.Sprintf(`"tag":%d`, i))); err != nil {
			t.Fatal(err)
		}
		if tag := read(t, s).Bridges[0].Ports[0].Tag; tag == nil || int(*tag) != i {
			t.Fatalf("tag %v after %d was committed", tag, i)
		}
	}
}

// However the rows came to their state, a session that saw every change reads
// the same as a new one.
func TestReadAfterManyChanges(t *testing.T) {
	o := ovstest.StartDatabase(t)
	o.Vsctl("--no-wait", "add-br", "br0")
	s := dialTo(t, o)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(choices ...string) string { return choices[random.IntN(len(choices))] }
	columns := []func() (string, string){
		func() (string, string) {
			return "port", pick("tag=[]", "tag=0", "tag=5", "trunks=[]", "trunks=1", "trunks=1,2,3", "trunks=3,4", "vlan_mode=[]", "vlan_mode=trunk",
				"protected=true", "protected=false", "lacp=active", "lacp=[]", "qos=[]", "bond_active_slave=x", "bond_active_slave=[]",
				"status:stp_state=a", "status={}", "external_ids:xdp-offload=on", "external_ids:xdp-offload=off", "external_ids={}", "other_config:a=b")
		},
		func() (string, string) {
			return "interface", pick("ofport=1", "ofport=2", "ofport=[]", "ifindex=3", "ifindex=[]", "error=x", "error=[]", "link_state=up", "link_state=down",
				"link_state=[]", "ingress_policing_rate=0", "ingress_policing_rate=7", "bfd:enable=true", "bfd:enable=false", "bfd={}", "cfm_mpid=1", "cfm_mpid=[]",
				`options={a=b,c=d}`, `options={a=x}`, "options={}", "type=tap", `type=""`)
		},
	}
	for i := range 400 {
		name := pick("p0", "p1", "p2", "p3", "br0")
		var args []string
		switch {
		case name != "br0" && random.IntN(8) == 0:
			args = []string{"--if-exists", "del-port", name}
		case random.IntN(10) == 0:
			args = []string{"set", "bridge", "br0", pick("flood_vlans=[]", "flood_vlans=1,2", "flood_vlans=2,3", "fail_mode=secure", "fail_mode=[]",
				"stp_enable=true", "stp_enable=false", "external_ids:a=b", "external_ids={}", "mirrors=[]")}
		case random.IntN(10) == 0:
			args = []string{"--id=@m", "create", "mirror", "name=m", "select_vlan=" + pick("1", "2,3"), "--", "add", "bridge", "br0", "mirrors", "@m"}
		default:
			table, value := columns[random.IntN(len(columns))]()
			if name != "br0" {
				args = []string{"--may-exist", "add-port", "br0", name, "--"}
			}
			args = append(args, "set", table, name, value)
		}
		o.Vsctl(append([]string{"--no-wait", "--"}, args...)...)
		if i%20 != 19 {
			continue
		}
		fresh, err := Dial(t.Context(), "unix:"+o.DBSocket(), nil)
		if err != nil {
			t.Fatal(err)
		}
		diff := cmp.Diff(read(t, fresh), read(t, s))
		fresh.Close()
		if diff != "" {
			t.Fatalf("after %d changes (-new session +old session):\n%s", i+1, diff)
		}
	}
}
