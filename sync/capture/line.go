// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Lines writes a line a frame, for people.
type Lines struct{ Out io.Writer }

// Write writes the line of a frame.
func (l Lines) Write(f Frame) error {
	if _, err := io.WriteString(l.Out, f.Text()+"\n"); err != nil {
		return fmt.Errorf("write frames: %w", err)
	}
	return nil
}

// Flush does nothing.
func (Lines) Flush() error { return nil }

// Objects writes a JSON object a line, see Captured.
type Objects struct{ Out io.Writer }

// Write writes the object of a frame.
func (o Objects) Write(f Frame) error {
	b, err := json.Marshal(f.document())
	if err == nil {
		_, err = o.Out.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write frames: %w", err)
	}
	return nil
}

// Flush does nothing.
func (Objects) Flush() error { return nil }

// Captured is a frame in JSON.
type Captured struct {
	Time time.Time `json:"time"`
	From string    `json:"from"`
	To   string    `json:"to"`
	// VLAN is the VID that the frame is sent with, 0 for none.
	VLAN   int `json:"vlan"`
	Length int `json:"length"`
	// Data is in hexadecimal digits.
	Data string `json:"data"`
}

func (f Frame) document() Captured {
	d := Captured{Time: f.At, From: f.From, To: f.To, Length: f.Length, Data: hex.EncodeToString(f.Data)}
	if tag, ok := f.packet().Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		d.VLAN = int(tag.VLANIdentifier)
	}
	return d
}

func (f Frame) packet() gopacket.Packet {
	return gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
}

// Text is the frame in one line: time, devices, addresses, VLAN, what it carries,
// length.
func (f Frame) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s > %s", f.At.Local().Format("15:04:05.000000"), f.From, f.To)
	p := f.packet()
	if l := p.LinkLayer(); l != nil {
		src, dst := l.LinkFlow().Endpoints()
		fmt.Fprintf(&b, " %s > %s", src, dst)
	}
	if tag, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		fmt.Fprintf(&b, " vlan %d", tag.VLANIdentifier)
	}
	// A header that is cut off has no addresses.
	l := p.NetworkLayer()
	if l != nil && len(l.NetworkFlow().Src().Raw()) > 0 {
		src, dst := l.NetworkFlow().Endpoints()
		fmt.Fprintf(&b, " %s %s > %s", l.LayerType(), src, dst)
		b.WriteString(above(p))
	}
	fmt.Fprintf(&b, ", %d bytes", f.Length)
	return b.String()
}

// above is what an IP packet carries.
func above(p gopacket.Packet) string {
	if l := p.TransportLayer(); l != nil && len(l.TransportFlow().Src().Raw()) > 0 {
		src, dst := l.TransportFlow().Endpoints()
		return fmt.Sprintf(" %s %s > %s", l.LayerType(), src, dst)
	}
	all := p.Layers()
	switch last := all[len(all)-1].LayerType(); last {
	case gopacket.LayerTypePayload, gopacket.LayerTypeDecodeFailure, p.NetworkLayer().LayerType():
		return ""
	default:
		return " " + last.String()
	}
}
