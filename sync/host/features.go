// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// The netdev generic netlink family (Linux 6.3,
// Documentation/netlink/specs/netdev.yaml).
const (
	netdevFamily      = "netdev"
	netdevGroup       = "mgmt"
	netdevCmdDevGet   = 1
	netdevAttrIfindex = 1
	netdevAttrXDP     = 3

	actBasic     = 1 << 0
	actRedirect  = 1 << 1
	actNDOXmit   = 1 << 2
	actNDOXmitSG = 1 << 6
)

// xdpFeatures holds what each device can do by ifindex; nil on a kernel that
// does not tell.
type xdpFeatures map[int]uint64

func (f xdpFeatures) answer(l *plan.Link) {
	bits, ok := f[l.IfIndex]
	if !ok {
		return
	}
	l.NativeXDP, l.Transmits = plan.No, plan.No
	if bits&actBasic != 0 && bits&actRedirect != 0 {
		l.NativeXDP = plan.Yes
	}
	if bits&actNDOXmit != 0 {
		l.Transmits = plan.Yes
		l.Scattered = bits&actNDOXmitSG != 0
	}
}

// readFeatures asks for all devices at once.
func readFeatures() (xdpFeatures, error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up netlink family %s: %w", netdevFamily, err)
	}
	msgs, err := dump(family.ID, netdevCmdDevGet)
	if err != nil {
		return nil, fmt.Errorf("read XDP features of network devices: %w", err)
	}
	features := make(xdpFeatures)
	for _, m := range msgs {
		ifindex, bits, err := parseDevice(m)
		if err != nil {
			return nil, err
		}
		features[ifindex] = bits
	}
	return features, nil
}

// dump sends one generic netlink dump request and collects its answers. This
// family does not set NLM_F_MULTI on them, which netlink's own Execute takes
// for the end.
func dump(family uint16, command uint8) ([][]byte, error) {
	s, err := nl.Subscribe(unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.SetReceiveTimeout(&unix.Timeval{Sec: 2}); err != nil {
		return nil, err
	}
	req := nl.NewNetlinkRequest(int(family), unix.NLM_F_DUMP)
	// struct genlmsghdr by hand: nl.Genlmsg fills its two reserved octets with
	// whatever lies behind it in memory, and this family refuses that.
	req.AddRawData([]byte{command, 1, 0, 0})
	if err := s.Send(req); err != nil {
		return nil, err
	}
	var answers [][]byte
	for {
		msgs, _, err := s.Receive()
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return answers, nil
			case unix.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return nil, errors.New("netlink error is cut off")
				}
				return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			}
			answers = append(answers, m.Data)
		}
	}
}

// parseDevice reads one NETDEV_CMD_DEV_GET answer: the generic netlink header
// and the device's attributes.
func parseDevice(msg []byte) (ifindex int, bits uint64, err error) {
	if len(msg) < nl.SizeofGenlmsg {
		return 0, 0, errors.New("read XDP features of network devices: message is cut off")
	}
	attrs, err := nl.ParseRouteAttr(msg[nl.SizeofGenlmsg:])
	if err != nil {
		return 0, 0, fmt.Errorf("read XDP features of network devices: %w", err)
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == netdevAttrIfindex && len(a.Value) >= 4:
			ifindex = int(binary.NativeEndian.Uint32(a.Value))
		case a.Attr.Type == netdevAttrXDP && len(a.Value) >= 8:
			bits = binary.NativeEndian.Uint64(a.Value)
		}
	}
	return ifindex, bits, nil
}
