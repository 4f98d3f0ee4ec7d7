// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// tcp measures one TCP connection.
type tcp struct{ figures figure.Set }

func newTCP() *tcp {
	return &tcp{figure.Set{
		Name:  "tcp",
		Title: "One TCP connection",
		Note: "Machines finish their checksums and cut their frames themselves (`tx off`), for OVS's userspace datapath spoils what is unfinished. " +
			"Sender, receiver and switch share the cores. What segmentation offload changes is measured by `make bench-kernels`.",
		Unit: "Mbit/s", Ways: ways, Ratios: []figure.Ratio{times},
	}}
}

func (t *tcp) set() figure.Set { return t.figures }

func (t *tcp) round(n *network, way string) error {
	for _, d := range []struct {
		name string
		from *lab.Namespace
		to   int // address
	}{
		{"uplink to VM, VLAN pop", n.remote.VM, 2},
		{vmToVM, n.vms[0].VM, 2},
		{"VM to uplink, VLAN push", n.vms[0].VM, 100},
	} {
		rate, err := n.iperf(d.from, address(d.to).Addr().String())
		if err != nil {
			return fmt.Errorf("measure TCP, %s, %s: %w", d.name, way, err)
		}
		t.figures.Add(d.name, way, rate)
	}
	return nil
}

// iperf returns the rate of one TCP connection in Mbit/s.
func (n *network) iperf(from *lab.Namespace, to string) (float64, error) {
	var report struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	err := lab.Eventually(10*time.Second, func() error { // the server may be busy yet
		out, err := from.Exec(n.ctx, "iperf3", "--json", "--client", to, "--time", "2")
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		return err
	})
	if err == nil && report.End.Received.BitsPerSecond == 0 {
		err = errors.New("nothing has arrived")
	}
	return report.End.Received.BitsPerSecond / 1e6, err
}
