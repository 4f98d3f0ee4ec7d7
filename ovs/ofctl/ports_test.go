// SPDX-License-Identifier: Apache-2.0

package ofctl

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func TestParsePortConfig(t *testing.T) {
	text, err := os.ReadFile("testdata/ports-3.1.txt") // captured
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsePortConfig(string(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint32]ovs.PortConfig{
		1:             {Name: "v1", NoFwd: true},
		2:             {Name: "v2", NoRecv: true, NoFwd: true},
		3:             {Name: "v3", Down: true},
		40000:         {Name: "v4"},
		65279:         {Name: "v5"},
		ovs.LocalPort: {Name: "br0", Down: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParsePortConfigRefuses(t *testing.T) {
	const (
		header = "OFPST_PORT_DESC reply (OF1.3) (xid=0x2):\n"
		port   = " 1(tap0): addr:52:54:00:12:34:56\n"
		config = "     config:     0\n"
	)
	if _, err := parsePortConfig(header + port + "     config:     NO_FLOOD NO_STP NO_RECV_STP NO_PACKET_IN\n     state:      LIVE\n"); err != nil {
		t.Errorf("bits that don't matter: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"no header":             port + config,
		"unknown bit":           header + port + "     config:     NO_FWD NO_LUCK\n",
		"unnamed bit":           header + port + "     config:     0x80\n",
		"no bits":               header + port + "     config:     \n",
		"0 and more":            header + port + "     config:     0 NO_FWD\n",
		"no config":             header + port,
		"no config, other port": header + port + " 2(tap1): addr:52:54:00:12:34:57\n" + config,
		"config twice":          header + port + config + config,
		"config without port":   header + config,
		"port twice":            header + port + config + port + config,
		"port name as number":   header + " tap0(tap0): addr:52:54:00:12:34:56\n" + config,
		"error":                 header + "OFPT_ERROR (OF1.3) (xid=0x2): OFPBRC_BAD_TYPE\n",
	} {
		if got, err := parsePortConfig(text); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

func FuzzParsePortConfig(f *testing.F) {
	text, err := os.ReadFile("testdata/ports-3.1.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Fuzz(func(t *testing.T, text string) {
		ports, err := parsePortConfig(text)
		if err == nil && len(ports) > strings.Count(text, "config:") {
			t.Errorf("%d ports", len(ports))
		}
	})
}
