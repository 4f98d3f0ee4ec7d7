// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// statsRequest is struct if_stats_msg of linux/if_link.h.
type statsRequest struct {
	family, _ uint8
	_         uint16
	ifindex   uint32
	filter    uint32
}

const (
	sizeofStats = int(unsafe.Sizeof(statsRequest{}))
	// statsLink64 is IFLA_STATS_LINK_64: struct rtnl_link_stats64, which begins with
	// the frames received and those sent.
	statsLink64 = 1
)

func (r *statsRequest) Len() int { return sizeofStats }

func (r *statsRequest) Serialize() []byte {
	b := make([]byte, sizeofStats)
	binary.NativeEndian.PutUint32(b[4:], r.ifindex)
	binary.NativeEndian.PutUint32(b[8:], r.filter)
	return b
}

// Frames returns how many frames a device has received and sent, together. It asks
// for nothing else of the device (RTM_GETSTATS), for it is called often.
func (h *Host) Frames(ifindex int) (uint64, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETSTATS, 0)
	req.AddData(&statsRequest{ifindex: uint32(ifindex), filter: 1 << (statsLink64 - 1)})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWSTATS)
	if err == nil && len(msgs) != 1 {
		err = fmt.Errorf("%d answers", len(msgs))
	}
	var frames uint64
	if err == nil {
		frames, err = parseFrames(msgs[0])
	}
	if err != nil {
		return 0, fmt.Errorf("read counters of device %d: %w", ifindex, err)
	}
	return frames, nil
}

// parseFrames reads an RTM_NEWSTATS: a struct if_stats_msg and attributes.
func parseFrames(msg []byte) (uint64, error) {
	if len(msg) < sizeofStats {
		return 0, errors.New("the answer is cut off")
	}
	attrs, err := nl.ParseRouteAttr(msg[sizeofStats:])
	if err != nil {
		return 0, err
	}
	for _, a := range attrs {
		if a.Attr.Type == statsLink64 && len(a.Value) >= 16 {
			return binary.NativeEndian.Uint64(a.Value) + binary.NativeEndian.Uint64(a.Value[8:]), nil
		}
	}
	return 0, errors.New("the kernel does not tell")
}
