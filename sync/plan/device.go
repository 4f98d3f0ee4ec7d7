// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"

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
	case !link.Up || iface.AdminState == "down" || iface.LinkState == "down":
		return refuse(LinkDown, "device %s is down or has no carrier", link.Name)
	}
	return link, true
}

// attachMode decides how the program gets onto a device, or refuses.
func (b *builder) attachMode(subject string, link Link) (Mode, bool) {
	switch {
	case link.StripsVLAN:
		b.refuse(subject, VLANOffload, "device %s takes VLAN tags off before XDP sees them: ethtool -K %s rxvlan off", link.Name, link.Name)
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
	case link.Driver == "veth":
		return Veth, true
	}
	return Native, true
}
