// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
)

// A change of 10,000 flows is planned within some milliseconds: it is done each
// second.
func BenchmarkFlows(b *testing.B) {
	const vms, flows = 100, 10_000
	br := ovs.Bridge{
		Name: "br-int", ExternalIDs: map[string]string{KeyOffload: string(On), KeyLane: string(FlowLane)},
		Detail: &ovs.Detail{FragMode: "normal", Rules: []ovs.Rule{{Actions: []string{"NORMAL"}}}, PortConfig: make(map[uint32]ovs.PortConfig)},
	}
	links := make(map[string]Link)
	mac := func(n int) ovs.MAC { return ovs.MAC{0x52, 0x54, 4: byte(n >> 8), 5: byte(n)} }
	for n := 1; n <= vms; n++ {
		name := fmt.Sprintf("vm%d", n)
		br.Ports = append(br.Ports, ovs.Port{Name: name, Interfaces: []ovs.Interface{{Name: name, OFPort: n, IfIndex: n, AdminState: "up", LinkState: "up"}}})
		br.Detail.PortConfig[uint32(n)] = ovs.PortConfig{Name: name}
		links[name] = Link{Name: name, IfIndex: n, Driver: "tun", MTU: 1500, Up: true, NativeXDP: Yes, Transmits: Yes}
	}
	var dump []dpflow.Flow
	for n := range flows {
		from, to := 1+n%vms, 1+(n/vms+n+1)%vms
		if from == to {
			continue
		}
		key := dpflow.Key{InPort: fmt.Sprintf("vm%d", from), EtherType: dpflow.IPv4, Src: mac(from), Dst: mac(to)}
		if n%2 == 1 {
			key.EtherType = dpflow.IPv6
		}
		dump = append(dump, dpflow.Flow{Match: key, Lane: &dpflow.LaneFlow{Key: key, FragNo: true, Output: fmt.Sprintf("vm%d", to)}})
	}
	policy := Policy{Flows: map[string][]dpflow.Flow{"br-int": dump}}
	snapshot := ovs.Snapshot{Bridges: []ovs.Bridge{br}}
	for b.Loop() {
		if res := Build(&snapshot, links, policy); len(res.Tables.Flows) < flows/4 {
			b.Fatalf("%d flows", len(res.Tables.Flows))
		}
	}
}
