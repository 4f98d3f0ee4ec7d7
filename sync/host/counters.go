// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
)

// Counters are those of a device (struct rtnl_link_stats64 of linux/if_link.h),
// which OVS shows as Interface:statistics. Whether they have the frames on the
// lane in them is the driver's affair.
type Counters struct {
	RXFrames  uint64 `json:"rx_packets"`
	RXBytes   uint64 `json:"rx_bytes"`
	RXDropped uint64 `json:"rx_dropped"`
	TXFrames  uint64 `json:"tx_packets"`
	TXBytes   uint64 `json:"tx_bytes"`
	TXDropped uint64 `json:"tx_dropped"`
}

// ReadCounters returns the counters of every device of this process's network
// namespace, by ifindex.
func ReadCounters() (map[int]Counters, error) {
	list, err := devices()
	if err != nil {
		return nil, fmt.Errorf("read counters of network devices: %w", err)
	}
	all := make(map[int]Counters, len(list))
	for _, l := range list {
		if st := l.Attrs().Statistics; st != nil {
			all[l.Attrs().Index] = Counters{RXFrames: st.RxPackets, RXBytes: st.RxBytes, RXDropped: st.RxDropped,
				TXFrames: st.TxPackets, TXBytes: st.TxBytes, TXDropped: st.TxDropped}
		}
	}
	return all, nil
}
