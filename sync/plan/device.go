// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// judgeInterface finds the device of an interface that OVS and the kernel
// agree on, or refuses.
func (b *builder) judgeInterface(subject string, iface *ovs.Interface) (Link, bool) {
	refuse := func(reason Reason, format string, args ...any) (Link, bool) {
		b.refuse(subject, reason, format, args...)
		return Link{}, false
	}
	if iface.Type != "" && iface.Type != "system" {
		return refuse(InterfaceType, "an interface of type %q, not a device of the kernel", iface.Type)
	}
	if iface.Error != "" {
		return refuse(InterfaceError, "OVS says: %s", iface.Error)
	}
	if iface.OFPort < 0 {
		return refuse(InterfaceError, "OVS could not add the device (ofport %d)", iface.OFPort)
	}
	if iface.BFD || iface.CFM {
		return refuse(ConnectivityMon, "BFD or CFM is enabled on the interface")
	}
	link, ok := b.links[iface.Name]
	switch {
	case !ok:
		return refuse(NoDevice, "no device %s in the daemon's network namespace", iface.Name)
	case iface.OFPort == 0 || iface.IfIndex == 0:
		return refuse(NotReady, "OVS has not taken up device %s yet", iface.Name)
	case iface.IfIndex != link.IfIndex:
		return refuse(NotReady, "OVS still holds an earlier device %s (ifindex %d, now %d)", iface.Name, iface.IfIndex, link.IfIndex)
	}
	return link, true
}

// isDown tells a device that the kernel or OVS says is down.
func isDown(iface *ovs.Interface, link Link) bool {
	return !link.Up || iface.AdminState == "down" || iface.LinkState == "down"
}

// attachMode decides how the program gets onto a device, or refuses.
func (b *builder) attachMode(subject string, link Link) (Mode, bool) {
	switch {
	case !b.judgeOffloads(subject, link):
		return 0, false
	case link.Driver == "veth" && link.HidesTags == Yes:
		b.refuse(subject, VLANOffload, "%s", hiddenTags(link))
		return 0, false
	case link.OtherXDP != "":
		b.refuse(subject, OtherProgram, "XDP program %s is attached to %s", link.OtherXDP, link.Name)
		return 0, false
	case link.NativeXDP == No && !b.policy.AllowGeneric:
		b.refuse(subject, NoNativeXDP, "driver %s of %s has no native XDP, and generic XDP is slower than OVS (--allow-generic takes it all the same)",
			cmp.Or(link.Driver, "(none)"), link.Name)
		return 0, false
	case link.AttachError != "":
		b.refuse(subject, AttachFailed, "%s", link.AttachError)
		return 0, false
	case link.NativeXDP == No:
		return Generic, true
	case link.Driver == "veth" && link.HidesTags == Unknown:
		return Veth, true
	}
	return Native, true
}

// judgeOffloads refuses a device that does to frames, before XDP sees them, what
// the daemon can't or may not turn off.
func (b *builder) judgeOffloads(subject string, link Link) bool {
	reason, what := VLANOffload, "takes VLAN tags off"
	if !link.StripsVLAN {
		reason, what = LRO, "merges frames"
	}
	switch {
	case !link.StripsVLAN && !link.LRO:
		return true
	case link.Offloads == "":
		b.refuse(subject, reason, "device %s does not tell whether it %s before XDP sees them", link.Name, what)
		return false
	case link.OffloadsFixed:
		b.refuse(subject, reason, "device %s %s before XDP sees them, and its driver does not let it be turned off (%s)", link.Name, what, link.Offloads)
		return false
	case !b.policy.SetNICOffloads:
		b.refuse(subject, reason, "device %s %s before XDP sees them: ethtool -K %s %s (--set-nic-offloads does it while the port is on the lane)",
			link.Name, what, link.Name, link.Offloads)
		return false
	}
	return true
}

// setsOffloads tells that a device has offloads to be turned off, or that are
// off because of us.
func (link Link) setsOffloads() bool { return link.StripsVLAN || link.LRO || link.KeptOff }

// hiddenTags says what to do about a veth whose tags XDP can't see.
func hiddenTags(link Link) string {
	if link.Peer == "" {
		return fmt.Sprintf("the peer of device %s is in a network namespace that could not be found, or may not be looked at "+
			"(CAP_SYS_ADMIN, CAP_NET_BROADCAST): it may hand over VLAN tags "+
			"beside the frames, which XDP cannot see on this kernel", link.Name)
	}
	return fmt.Sprintf("peer %s of device %s hands over VLAN tags beside the frames, which XDP cannot see on this kernel: %s",
		link.Peer, link.Name, strings.TrimSpace(link.PeerReach+" ethtool -K "+link.Peer+" tx-vlan-offload off tx-vlan-stag-hw-insert off"))
}
