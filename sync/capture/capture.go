// SPDX-License-Identifier: Apache-2.0

// Package capture shows frames that take the lane, which tcpdump does not see:
// samples of them, by the device that each is sent to, with the tag that it is
// sent with. It reads what bpf.Capture finds and writes it for people, as JSON or
// as pcapng. It changes nothing.
package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// Config says what to capture.
type Config struct {
	// Of is a port or an interface of OVS, or the address of a station: frames from
	// and to it.
	Of string
	// Rate is in frames a second, 1 or more, and Snap in bytes of a frame, 1 to
	// bpf.MaxSnap.
	Rate, Snap int
	// Count ends it after so many frames; 0 is no limit.
	Count int
	// Ports asks the daemon for its ports.
	Ports func(context.Context) ([]report.Port, error)
	// Say tells the operator what is worth knowing, a line at a time.
	Say func(string)
}

// Frame is one of them.
type Frame struct {
	At time.Time
	// From and To are names of devices, "" for those that are gone.
	From, To string
	// Length is in bytes, without frame check sequence; Data is what was copied.
	Length int
	Data   []byte
}

// Writer takes frames.
type Writer interface {
	Write(Frame) error
	// Flush writes out what is held back; also when there was no frame.
	Flush() error
}

// often is how often devices are looked up anew and the writer is flushed.
const often = 250 * time.Millisecond

// Run captures until the context ends, which is no error.
func Run(ctx context.Context, cfg Config, w Writer) error {
	station, notMAC := ovs.ParseMAC(cfg.Of)
	v := view{of: cfg.Of, names: make(map[int]string)}
	if notMAC == nil {
		v.of = ""
	}
	if err := v.look(ctx, cfg.Ports); err != nil {
		return err
	}
	if v.of != "" && len(v.ports) == 0 {
		return fmt.Errorf("capture frames of %s: it is neither a port of a bridge that asks for the lane (ovs-xdpctl ports) nor an address like 52:54:00:12:34:56", cfg.Of)
	}
	c, err := bpf.NewCapture(bpf.CaptureConfig{Station: station, Rate: cfg.Rate, Snap: cfg.Snap})
	if err != nil {
		return fmt.Errorf("capture frames of %s: %w", cfg.Of, err)
	}
	defer c.Close()
	if err := c.SetDevices(v.devices); err != nil {
		return err
	}
	if aside := v.aside(); aside != "" {
		cfg.Say(aside)
	}
	cfg.Say(fmt.Sprintf("capturing frames of %s that take the lane, at most %d a second; Ctrl-C ends it", cfg.Of, cfg.Rate))
	n, err := copyFrames(ctx, cfg, c, &v, w)
	if over, full, missed := c.Missed(); missed == nil {
		text := fmt.Sprintf("%d frames captured", n)
		if over > 0 {
			text += fmt.Sprintf(", %d more were over --rate=%d", over, cfg.Rate)
		}
		if full > 0 {
			text += fmt.Sprintf(", %d more were not written in time", full)
		}
		cfg.Say(text)
	}
	return err
}

func copyFrames(ctx context.Context, cfg Config, c *bpf.Capture, v *view, w Writer) (n int, err error) {
	for looked := time.Now(); ; {
		if time.Since(looked) >= often {
			// A daemon that is replaced does not answer for a moment.
			if err := v.look(ctx, cfg.Ports); err == nil {
				if err := c.SetDevices(v.devices); err != nil {
					return n, err
				}
			}
			if err := w.Flush(); err != nil {
				return n, err
			}
			looked = time.Now()
		}
		if ctx.Err() != nil {
			return n, w.Flush()
		}
		s, err := c.Read(time.Now().Add(often))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return n, err
		}
		if err := w.Write(Frame{At: s.At, From: v.name(s.From), To: v.name(s.To), Length: s.Length, Data: s.Data}); err != nil {
			return n, err
		}
		if n++; n == cfg.Count {
			return n, w.Flush()
		}
	}
}
