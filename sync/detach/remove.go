// SPDX-License-Identifier: Apache-2.0

package detach

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/ovs-xdp/ovs-xdp/bpf"
)

// Outcome is what became of Remove.
type Outcome struct {
	// Found was there before, Left is there still.
	Found Found `json:"found"`
	Left  Found `json:"left"`
	// Killed holds the processes that did not end politely.
	Killed []int `json:"killed"`
	// Errors tells what could not be done.
	Errors []string `json:"errors"`
}

// ErrRuns tells that processes hold the programs, and that none was ended.
var ErrRuns = errors.New("ovs-xdpd runs")

// Remove takes everything off. Processes that hold programs are ended when force
// is set; without it nothing is done as long as there are any, and the error is
// ErrRuns.
func (h Host) Remove(force bool) (Outcome, error) {
	found, err := h.Find()
	o := Outcome{Found: found, Left: found, Killed: []int{}, Errors: []string{}}
	if err != nil {
		return o, err
	}
	if len(found.Processes) > 0 && !force {
		return o, ErrRuns
	}
	note := func(err error) {
		if err != nil {
			o.Errors = append(o.Errors, err.Error())
		}
	}
	for _, p := range found.Processes {
		killed, err := end(p.PID)
		if killed {
			o.Killed = append(o.Killed, p.PID)
		}
		note(err)
	}
	for _, dir := range found.Pins {
		_, err := bpf.RemovePins(dir)
		note(err)
	}
	if len(found.Processes) > 0 { // a daemon that was killed has left its files
		if now, err := h.Find(); err == nil {
			found.Stale = now.Stale
		}
	}
	for _, file := range found.Stale {
		note(os.Remove(file))
	}
	// What is left then is not held by any process that can be seen from here.
	if o.Left, err = h.settle(); err != nil {
		return o, err
	}
	for _, d := range o.Left.Devices {
		note(takeOff(d))
	}
	if o.Left, err = h.settle(); err != nil {
		return o, err
	}
	if !o.Left.Nothing() {
		err = errors.New("something of ovs-xdp is left")
	}
	return o, err
}

// settle looks until nothing is left, or the kernel has had its time: it takes a
// program off its device some milliseconds after the last that held its link.
func (h Host) settle() (Found, error) {
	deadline := time.Now().Add(time.Second)
	for {
		left, err := h.Find()
		if err != nil || left.Nothing() || time.Now().After(deadline) {
			return left, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// takeOff removes a program from a device: its link, whoever holds it, or what
// was attached without one.
func takeOff(d Device) error {
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil || info.XDP() == nil || uint32(info.Program) != d.ID || int(info.XDP().Ifindex) != d.IfIndex {
			continue
		}
		if err := it.Link.Detach(); err != nil {
			return fmt.Errorf("detach link %d of %s: %w", it.ID, d.Name, err)
		}
		return nil
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("look for the link of %s: %w%s", d.Name, err, hint(err))
	}
	l, err := netlink.LinkByIndex(d.IfIndex)
	if err != nil || l.Attrs().Xdp == nil || l.Attrs().Xdp.ProgId != d.ID {
		return nil // it has just gone
	}
	flags := nl.XDP_FLAGS_DRV_MODE
	if l.Attrs().Xdp.AttachMode == nl.XDP_ATTACHED_SKB {
		flags = nl.XDP_FLAGS_SKB_MODE
	}
	if err := netlink.LinkSetXdpFdWithFlags(l, -1, flags); err != nil {
		return fmt.Errorf("take the XDP program off %s: %w%s", d.Name, err, hint(err))
	}
	return nil
}

// Text says what there is, for people.
func (f Found) Text() string {
	var b strings.Builder
	for _, p := range f.Processes {
		fmt.Fprintf(&b, "process %d (%s)", p.PID, p.Name)
		if p.Unit != "" {
			fmt.Fprintf(&b, " of %s", p.Unit)
		}
		switch p.State {
		case "T":
			b.WriteString(", stopped by a signal")
		case "D":
			b.WriteString(", in the kernel")
		}
		b.WriteByte('\n')
	}
	for _, d := range f.Devices {
		fmt.Fprintf(&b, "program %s (id %d, tag %s) on device %s\n", d.Program, d.ID, d.Tag, d.Name)
	}
	for _, p := range f.Pins {
		fmt.Fprintf(&b, "pins in %s\n", p)
	}
	for _, p := range f.Stale {
		fmt.Fprintf(&b, "file %s of a daemon that was killed\n", p)
	}
	return b.String()
}

// Text tells what was done.
func (o Outcome) Text() string {
	if o.Found.Nothing() {
		return "nothing of ovs-xdp is on the devices of this network namespace\n"
	}
	var b strings.Builder
	b.WriteString("found:\n" + indent(o.Found.Text()))
	for _, pid := range o.Killed {
		fmt.Fprintf(&b, "process %d did not end by itself and was killed\n", pid)
	}
	for _, e := range o.Errors {
		fmt.Fprintf(&b, "failed: %s\n", e)
	}
	if o.Left.Nothing() {
		b.WriteString("all of it is gone: every frame goes by OVS\n")
	} else {
		b.WriteString("left:\n" + indent(o.Left.Text()))
	}
	return b.String()
}

// Advice says what to do about processes that were not ended.
func (o Outcome) Advice() string {
	var b strings.Builder
	b.WriteString("found:\n" + indent(o.Found.Text()))
	b.WriteString("nothing was changed, for a daemon would put its programs back. A daemon that is well detaches when it ends:\n")
	stop := "ovs-appctl -t ovs-xdpd exit"
	for _, p := range o.Found.Processes {
		if p.Unit != "" {
			stop = "systemctl stop " + p.Unit
		}
	}
	fmt.Fprintf(&b, "    %s\n", stop)
	b.WriteString("To end whatever is there, by SIGKILL if need be, and take everything off:\n    ovs-xdpctl detach --force\n")
	return b.String()
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}
