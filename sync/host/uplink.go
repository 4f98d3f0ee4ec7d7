// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// receiveOffloads are what a device may do to a frame before XDP sees it.
var receiveOffloads = []struct {
	name string // the kernel's
	tool string // as people write it after ethtool -K
	// strips: it takes the outer tag off; otherwise it merges frames.
	strips bool
}{
	{rxVLAN, "rxvlan", true},
	{rxVLANStag, rxVLANStag, true},
	{rxLRO, "lro", false},
	{rxGROHW, rxGROHW, false},
}

// judged lists the names of those that matter for a device's driver. virtio_net
// stops merging by itself while XDP is there (virtnet_xdp_set in
// drivers/net/virtio_net.c), and says that it merges all the same.
func judged(driver string) []string {
	var names []string
	for _, o := range receiveOffloads {
		if o.strips || driver != "virtio_net" {
			names = append(names, o.name)
		}
	}
	return names
}

// readOffloads fills in what a device does to frames before XDP sees them; one
// that does not tell is taken to take tags off.
func (h *Host) readOffloads(l *plan.Link) {
	f, err := h.tool.read(l.Name)
	if err != nil {
		l.StripsVLAN, l.OffloadsFixed = true, true
		return
	}
	var off []string
	names := judged(l.Driver)
	for _, o := range receiveOffloads {
		state := f(o.name)
		if !state.on || !slices.Contains(names, o.name) {
			continue
		}
		off = append(off, o.tool+" off")
		l.StripsVLAN = l.StripsVLAN || o.strips
		l.LRO = l.LRO || !o.strips
		l.OffloadsFixed = l.OffloadsFixed || state.fixed
	}
	l.Offloads = strings.Join(off, " ")
}

// TurnOff turns off what a device does to frames before XDP sees them, until
// Restore, Close or the end of the process.
func (h *Host) TurnOff(ifindex int) error {
	h.mu.Lock()
	driver := h.static[ifindex].driver
	h.mu.Unlock()
	if err := h.keeper.turnOff(ifindex, judged(driver)); err != nil {
		return plain(err)
	}
	return nil
}

// Restore turns on again what TurnOff has turned off, but for what somebody else
// has turned on meanwhile.
func (h *Host) Restore(ifindex int) error {
	if err := h.keeper.restore(ifindex); err != nil {
		return plain(err)
	}
	return nil
}

// plain leaves only the text of an error: the kernel's numbers mean something
// else here than from an attach.
func plain(err error) error { return errors.New(err.Error()) }
