// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// MaxSnap is how many bytes of a frame a Capture copies at most.
const MaxSnap = int(captureCaptureLimitsCAPTURE_SNAP)

// CaptureConfig says what to sample.
type CaptureConfig struct {
	// Station is the source or destination of the frames; if it is zero, those from
	// and to the devices of SetDevices are meant.
	Station ovs.MAC
	// Rate is how many frames are sampled in a second at most, on all CPUs, and
	// Snap how many bytes of each, 1 to MaxSnap.
	Rate, Snap int
}

// Capture samples frames that the lane of any daemon in this network namespace
// redirects, by a program on the kernel's tracepoint. It needs no Lane, changes
// none, and goes with the process. It is for one goroutine.
type Capture struct {
	coll    *ebpf.Collection
	link    link.Link
	samples *ringbuf.Reader
	devices map[int]bool
	// began is when CLOCK_MONOTONIC was 0.
	began time.Time
}

// Sample is a frame as the lane has left it: with the tag that it is sent with.
type Sample struct {
	At time.Time
	// From and To are devices by ifindex.
	From, To int
	// Length is that of the frame in bytes, without frame check sequence. Data is
	// what was copied of it: Snap bytes at most, and of a frame in several buffers
	// the first.
	Length int
	Data   []byte
}

// NewCapture starts to sample.
func NewCapture(cfg CaptureConfig) (*Capture, error) {
	// As in load.
	_ = rlimit.RemoveMemlock()
	spec, err := loadCapture()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	namespace, err := ownNamespace()
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{
		captureVarStation: Key{MAC: cfg.Station}.word(),
		captureVarRate:    uint64(cfg.Rate),
		captureVarSnap:    uint32(min(cfg.Snap, MaxSnap)),
		captureVarNetns:   namespace,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set BPF constant %s: %w", name, err)
		}
	}
	c := &Capture{devices: make(map[int]bool)}
	if c.began, err = monotonicBegan(); err != nil {
		return nil, err
	}
	if c.coll, err = ebpf.NewCollection(spec); err != nil {
		return nil, fmt.Errorf("load the programs that sample frames: %w%s", err, captureHint(err))
	}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Capture) start() error {
	if err := c.findDesk(); err != nil {
		return fmt.Errorf("find the kernel's memory for each CPU: %w%s", err, captureHint(err))
	}
	var err error
	if c.samples, err = ringbuf.NewReader(c.coll.Maps[captureMapSamples]); err != nil {
		return fmt.Errorf("open the ring buffer of samples: %w", err)
	}
	if c.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "xdp_redirect", Program: c.coll.Programs[captureProgCaptureRedirect]}); err != nil {
		return fmt.Errorf("attach to the tracepoint xdp_redirect: %w%s", err, captureHint(err))
	}
	return nil
}

// findDesk has capture_base look where the desk is, see src/capture.bpf.c.
func (c *Capture) findDesk() error {
	info, err := c.coll.Maps[captureMapDesk].Info()
	if err != nil {
		return err
	}
	id, ok := info.ID()
	if !ok {
		return errors.New("the kernel does not tell the id of a map")
	}
	if err := c.coll.Variables[captureVarDeskId].Set(uint32(id)); err != nil {
		return err
	}
	it, err := link.AttachIter(link.IterOptions{Program: c.coll.Programs[captureProgCaptureBase]})
	if err != nil {
		return err
	}
	defer it.Close()
	run, err := it.Open()
	if err != nil {
		return err
	}
	defer run.Close()
	if _, err := io.Copy(io.Discard, run); err != nil {
		return err
	}
	var base uint64
	if err := c.coll.Variables[captureVarDeskBase].Get(&base); err != nil {
		return err
	}
	if base == 0 {
		return errors.New("the map is not among those of the kernel")
	}
	return nil
}

// Close ends it.
func (c *Capture) Close() error {
	var errs []error
	if c.link != nil {
		errs = append(errs, c.link.Close())
	}
	if c.samples != nil {
		errs = append(errs, c.samples.Close())
	}
	c.coll.Close()
	return errors.Join(errs...)
}

// SetDevices says, by ifindex, frames from and to which devices are meant.
func (c *Capture) SetDevices(list []int) error {
	m := c.coll.Maps[captureMapDevices]
	want := make(map[int]bool)
	for _, ifindex := range list {
		want[ifindex] = true
		if c.devices[ifindex] {
			continue
		}
		if err := m.Put(uint32(ifindex), uint8(1)); err != nil {
			return fmt.Errorf("look for frames of device %d: %w", ifindex, err)
		}
	}
	for ifindex := range c.devices {
		if !want[ifindex] {
			if err := m.Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("look no longer for frames of device %d: %w", ifindex, err)
			}
		}
	}
	c.devices = want
	return nil
}

// captureHint says what the operator can do about an error.
func captureHint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return " (root is needed)"
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist):
		return " (a kernel is needed with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_EVENTS, not locked down for confidentiality; else take the port off the lane while you look: deploy/OPERATIONS.md)"
	}
	return ""
}

// Read waits for a sample until the deadline; the error is os.ErrDeadlineExceeded
// then, and os.ErrClosed after Close.
func (c *Capture) Read(deadline time.Time) (Sample, error) {
	var s captureCaptureSample
	header := binary.Size(s) - len(s.Data)
	c.samples.SetDeadline(deadline)
	rec, err := c.samples.Read()
	if err != nil {
		return Sample{}, fmt.Errorf("read samples: %w", err)
	}
	if len(rec.RawSample) < header {
		return Sample{}, fmt.Errorf("read samples: one has %d bytes, want %d", len(rec.RawSample), header)
	}
	raw := make([]byte, binary.Size(s)) // the kernel sends only what was caught
	copy(raw, rec.RawSample)
	if _, err := binary.Decode(raw, binary.NativeEndian, &s); err != nil {
		return Sample{}, fmt.Errorf("read samples: %w", err)
	}
	// The kernel rounds the size of records up.
	caught := min(int(s.Caught), len(rec.RawSample)-header)
	return Sample{
		At:   c.began.Add(time.Duration(s.Time)),
		From: int(s.From), To: int(s.To), Length: int(s.Len), Data: rec.RawSample[header : header+caught],
	}, nil
}

// Missed tells how many frames would have been samples so far, but were over the
// rate, or were not read in time.
func (c *Capture) Missed() (over, full uint64, err error) {
	var cpus []captureCaptureMissed
	if err := c.coll.Maps[captureMapMissed].Lookup(uint32(0), &cpus); err != nil {
		return 0, 0, fmt.Errorf("read how many samples were missed: %w", err)
	}
	for _, m := range cpus {
		over += m.Over
		full += m.Full
	}
	return over, full, nil
}

// monotonicBegan tells when CLOCK_MONOTONIC was 0, by the clock of today.
func monotonicBegan() (time.Time, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return time.Now().Add(-time.Duration(now.Nano())).Round(0), nil
}
