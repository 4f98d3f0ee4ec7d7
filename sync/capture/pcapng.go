// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"fmt"
	"io"
	"runtime"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// PCAPNG writes frames as pcapng: each as sent by the device that it goes to, with
// a comment that names the one that it came from.
type PCAPNG struct {
	out  io.Writer
	snap int
	w    *pcapgo.NgWriter
	ids  map[string]int // of devices
}

// NewPCAPNG makes a PCAPNG; snap is in bytes.
func NewPCAPNG(out io.Writer, snap int) *PCAPNG {
	return &PCAPNG{out: out, snap: snap, ids: make(map[string]int)}
}

// id returns that of a device, which is declared before its first frame.
func (p *PCAPNG) id(device string) (int, error) {
	id, ok := p.ids[device]
	if ok {
		return id, nil
	}
	// The writer fixes the resolution of times to nanoseconds.
	i := pcapgo.NgInterface{Name: device, OS: runtime.GOOS, LinkType: layers.LinkTypeEthernet, SnapLength: uint32(p.snap)}
	var err error
	if p.w == nil {
		p.w, err = pcapgo.NewNgWriterInterface(p.out, i, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
			Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "ovs-xdpctl " + report.Version,
			Comment: "samples of frames on the express lane of ovs-xdp",
		}})
	} else {
		id, err = p.w.AddInterface(i)
	}
	if err != nil {
		return 0, fmt.Errorf("write pcapng: %w", err)
	}
	p.ids[device] = id
	return id, nil
}

// Write writes a frame.
func (p *PCAPNG) Write(f Frame) error {
	id, err := p.id(f.To)
	if err != nil {
		return err
	}
	ci := gopacket.CaptureInfo{Timestamp: f.At, CaptureLength: len(f.Data), Length: f.Length, InterfaceIndex: id}
	if err := p.w.WritePacketWithOptions(ci, f.Data, pcapgo.NgPacketOptions{
		Comments: []string{"from " + f.From},
		Flags:    &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound},
	}); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}

// Flush writes out what is held back. A file without frames is one of pcapng, too.
func (p *PCAPNG) Flush() error {
	if p.w == nil {
		if _, err := p.id("lane"); err != nil {
			return err
		}
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}
