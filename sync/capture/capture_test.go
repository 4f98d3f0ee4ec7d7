// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var (
	macA = ovs.MAC{0x52, 0x54, 0, 0, 0, 10}
	macB = ovs.MAC{0x52, 0x54, 0, 0, 0, 11}
)

// of makes a frame from tap1 to eth0.
func of(b []byte) Frame {
	return Frame{At: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.Local), From: "tap1", To: "eth0", Length: len(b), Data: b}
}

func TestText(t *testing.T) {
	const front = "03:04:05.678901 tap1 > eth0 52:54:00:00:00:0a > 52:54:00:00:00:0b"
	udp := frame.UDP4(macB, macA, frame.Ports(53, 4000), frame.Length(100))
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"plain", udp, front + " IPv4 10.0.0.10 > 10.0.0.11 UDP 4000 > 53, 100 bytes"},
		{"tagged", frame.UDP4(macB, macA, frame.OnVLAN(10), frame.Ports(53, 4000)), front + " vlan 10 IPv4 10.0.0.10 > 10.0.0.11 UDP 4000 > 53, 64 bytes"},
		{"cut off in the addresses", udp[:20], front + ", 20 bytes"},
		{"cut off before that", udp[:5], "03:04:05.678901 tap1 > eth0, 5 bytes"},
		{"nothing", nil, "03:04:05.678901 tap1 > eth0, 0 bytes"},
	} {
		if d := cmp.Diff(c.want, of(c.data).Text()); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// Whatever a guest sends can be written, in every form.
func FuzzFrames(f *testing.F) {
	f.Add(frame.UDP4(macB, macA, frame.OnVLAN(10)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		fr := of(data)
		for _, w := range []Writer{Lines{io.Discard}, Objects{io.Discard}, NewPCAPNG(io.Discard, 4096)} {
			if err := errors.Join(w.Write(fr), w.Flush()); err != nil {
				t.Errorf("%T: %v", w, err)
			}
		}
	})
}

// A file of pcapng has the frames, where they were sent and where they come from;
// one without frames can be read, too.
func TestPCAPNG(t *testing.T) {
	type packet struct {
		To      string
		From    []string
		At      time.Time
		Length  int
		Data    []byte
		Outward bool
	}
	long := of(frame.UDP4(macB, macA, frame.Length(1000)))
	long.Data = long.Data[:64]
	back := of(frame.UDP4(macA, macB))
	back.From, back.To = "eth0", "tap1"
	for _, frames := range [][]Frame{{of(frame.UDP4(macB, macA, frame.OnVLAN(10))), long, back, long}, nil} {
		var file bytes.Buffer
		w := NewPCAPNG(&file, 64)
		var want, got []packet
		for _, f := range frames {
			if err := w.Write(f); err != nil {
				t.Fatal(err)
			}
			want = append(want, packet{f.To, []string{"from " + f.From}, f.At.UTC(), f.Length, f.Data, true})
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatal(err)
		}
		for {
			data, ci, opts, err := r.ReadPacketDataWithOptions()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			i, err := r.Interface(ci.InterfaceIndex)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, packet{i.Name, opts.Comments, ci.Timestamp.UTC(), ci.Length, data, opts.Flags.Direction == pcapgo.NgEpbFlagDirectionOutbound})
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d frames (-want +got):\n%s", len(frames), d)
		}
	}
}

// What keeps frames from being seen is said.
func TestAside(t *testing.T) {
	for _, c := range []struct {
		name  string
		ports []report.Port
		want  string
	}{
		{"all", nil, ""},
		{"on the lane", []report.Port{{Ingress: true, Egress: true, Attach: "native"}}, ""},
		{"a target", []report.Port{{Egress: true, Attach: "none"}}, ""},
		{"one member", []report.Port{{}, {Ingress: true}}, ""},
		{"off", []report.Port{{}, {}}, "p is not on the lane now (ovs-xdpctl status): tcpdump sees all of its frames"},
		{"generic", []report.Port{{Ingress: true, Attach: "generic"}}, "p is on the lane in generic mode: frames from it can't be captured"},
	} {
		v := view{of: "p", ports: c.ports}
		if d := cmp.Diff(c.want, v.aside()); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
