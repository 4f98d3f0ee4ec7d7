// SPDX-License-Identifier: Apache-2.0

package dpflow

import (
	"encoding/binary"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What the kernel datapath has, without ovs-vswitchd, to see what that costs
// (BenchmarkDump). From include/uapi/linux/openvswitch.h.
const (
	ovsFlowFamily   = "ovs_flow"
	ovsFlowVersion  = 1
	ovsFlowCmdGet   = 3
	ovsFlowKey      = 1
	ovsFlowActions  = 2
	ovsFlowMask     = 7
	ovsFlowUFIDOmit = 10
	ovsOmitKey      = 1 << 0
	ovsOmitMask     = 1 << 1
	ovsOmitActions  = 1 << 2
)

// kernelFlows reads the flows of the kernel datapath once, attribute by attribute,
// but for what is left out, and returns how many there are, of how many bytes.
func (w *world) kernelFlows(omit uint32) (flows, bytes int) {
	w.t.Helper()
	w.must(w.Hypervisor.Do(func() error {
		family, err := netlink.GenlFamilyGet(ovsFlowFamily)
		if err != nil {
			return err
		}
		datapath, err := netlink.LinkByName("ovs-system")
		if err != nil {
			return err
		}
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
		req.AddData(&nl.Genlmsg{Command: ovsFlowCmdGet, Version: ovsFlowVersion})
		req.AddRawData(binary.NativeEndian.AppendUint32(nil, uint32(datapath.Attrs().Index))) // struct ovs_header
		if omit != 0 {
			req.AddRawData(nl.NewRtAttr(ovsFlowUFIDOmit, nl.Uint32Attr(omit)).Serialize())
		}
		return req.ExecuteIter(unix.NETLINK_GENERIC, family.ID, func(msg []byte) bool {
			flows++
			bytes += len(msg)
			attributes, err := nl.ParseRouteAttr(msg[nl.SizeofGenlmsg+4:])
			for _, a := range attributes {
				if err == nil && isNested(a) {
					_, err = nl.ParseRouteAttr(a.Value)
				}
			}
			if err != nil {
				w.t.Errorf("a flow of the kernel: %v", err)
			}
			return err == nil
		})
	}))
	return flows, bytes
}

func isNested(a syscall.NetlinkRouteAttr) bool {
	switch a.Attr.Type &^ unix.NLA_F_NESTED {
	case ovsFlowKey, ovsFlowActions, ovsFlowMask:
		return true
	}
	return false
}
