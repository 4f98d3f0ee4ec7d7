// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

const finishFlag = "--finish-checksums"

// With the flag, frames whose L4 checksum looks unfinished take the lane and
// arrive with the right one; those that go by OVS arrive as they were sent.
func TestFinishedChecksums(t *testing.T) {
	w := newWorld(t, finishFlag)
	v1, v2, t1 := w.veth("v1", "tag=10"), w.veth("v2"), w.tap("t1", "tag=10")
	w.mode("on")
	a, b, c := untagged(v1, 10), tagged(v2, w.NewMAC(), 10), untagged(t1, 10)
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	odd := frame.Payload([]byte("an odd payload"))
	for name, build := range map[string]func(dst, src ovs.MAC, opts ...frame.Option) []byte{
		"UDP over IPv4": frame.UDP4, "UDP over IPv6": frame.UDP6, "TCP over IPv4": frame.TCP4, "TCP over IPv6": frame.TCP6,
	} {
		for _, way := range []struct {
			name     string
			from, to station
		}{{"kept", a, c}, {"pushed", a, b}, {"popped", b, a}} {
			w.run(name+", tag "+way.name, func(w *world) {
				w.finished(way.from, way.to, true, func(opts ...frame.Option) []byte {
					return build(way.to.mac, way.from.mac, append(opts, odd)...)
				})
			})
		}
		w.run(name+", from a tap", func(w *world) {
			w.finished(c, a, !lab.TapsTakeMetadata(), func(opts ...frame.Option) []byte {
				return build(a.mac, c.mac, append(opts, odd)...)
			})
		})
	}
	w.run("observed", func(w *world) {
		w.mode("observe")
		f := a.frameTo(c.mac, frame.PartialChecksum())
		p := w.bridge(v1, f, map[string][]byte{"t1": f})
		if p.would < burst-3 {
			w.t.Errorf("frames whose checksum would be finished: %s", p)
		}
	})
}

// finished sends a burst of frames with an unfinished checksum, and checks that
// they take the lane and arrive finished, but for keep-alive frames, which
// arrive as they were sent; or, if not may, that all do.
func (w *world) finished(from, to station, may bool, build func(...frame.Option) []byte) {
	w.t.Helper()
	sent := from.out(build(frame.PartialChecksum()), 0)
	asSent, right := to.out(build(frame.PartialChecksum()), 0), to.out(build(), 0)
	if !may {
		w.bridge(from.port, sent, map[string][]byte{to.port.Name: asSent})
		return
	}
	before := w.counts().ports[from.port.Name].RX.Finished
	got, p := w.send(from.port, sent)
	var onLane, byOVS int
	for name, frames := range got {
		for _, f := range frames {
			switch {
			case bytes.HasPrefix(f, frame.Broadcast[:]): // a late announcement
			case name == to.port.Name && bytes.Equal(f, right):
				onLane++
			case name == to.port.Name && bytes.Equal(f, asSent):
				byOVS++
			default:
				w.t.Errorf("%s got % x", name, f)
			}
		}
	}
	finished := w.counts().ports[from.port.Name].RX.Finished - before
	const keepAlive = 3
	if onLane+byOVS != burst || byOVS > keepAlive || int(p.lane) != onLane || int(finished) != onLane || p.reasons["checksum"] > 0 {
		w.t.Errorf("of %d frames %d arrived finished and %d as they were sent, %d are counted as finished: %s", burst, onLane, byOVS, finished, p)
	}
}

// machines are two that leave checksums to their devices, with an address of
// both IP versions each.
func (w *world) machines() (a, b *lab.Port) {
	w.t.Helper()
	var both []*lab.Port
	for i, name := range []string{"v1", "v2"} {
		p, err := w.AddVeth("br0", name, lab.PortOptions{
			Addr: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24), TxChecksum: true, Columns: []string{"tag=10"}})
		w.must(err)
		w.must(p.VM.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("0"), 0)
		}))
		_, err = p.VM.Exec(w.t.Context(), "ip", "address", "add", address6(p).String()+"/64", "dev", "eth0", "nodad")
		w.must(err)
		both = append(both, p)
	}
	return both[0], both[1]
}

func address6(p *lab.Port) netip.Addr { return frame.IP6(p.MAC) }

// reaches waits until a machine answers.
func (w *world) reaches(from *lab.Port, to netip.Addr) {
	w.t.Helper()
	w.eventually(func() error {
		_, err := from.VM.Exec(w.t.Context(), "ping", "-c", "1", "-W", "1", to.String())
		return err
	})
}

// What machines say to each other by TCP and UDP arrives as they said it, and on
// the lane, though they leave checksums to their devices.
func TestMachinesWithFinishedChecksums(t *testing.T) {
	w := newWorld(t, finishFlag)
	a, b := w.machines()
	w.mode("on")
	for _, to := range []netip.Addr{b.Addr.Addr(), address6(b)} {
		w.reaches(a, to)
		version := map[bool]string{true: "IPv4", false: "IPv6"}[to.Is4()]
		w.run("TCP over "+version, func(w *world) { w.onLane(a, b, 100, func() { w.echoTCP(a, b, to) }) })
		w.run("UDP over "+version, func(w *world) { w.onLane(a, b, 1450, func() { w.echoUDP(a, b, to) }) })
	}
}

// onLane checks that at least so many of the frames that fn sends are finished
// on the lane, each way.
func (w *world) onLane(a, b *lab.Port, least uint64, fn func()) {
	w.t.Helper()
	// Neither address may be new to the lane.
	w.eventually(func() error {
		rows, err := w.FDB()
		for _, p := range []*lab.Port{a, b} {
			if err == nil && !slices.ContainsFunc(rows, func(r lab.FDBRow) bool { return r.MAC == p.MAC.String() && r.State == "lane" }) {
				err = fmt.Errorf("%s is not on the lane: %+v", p.Name, rows)
			}
		}
		return err
	})
	before := w.counts()
	fn()
	after := w.counts()
	for _, p := range []*lab.Port{a, b} {
		was, is := before.ports[p.Name].RX, after.ports[p.Name].RX
		finished, lane, passed := is.Finished-was.Finished, is.Lane-was.Lane, is.OVS-was.OVS
		if finished < least || finished > lane || lane < 10*passed {
			w.t.Errorf("of the frames from %s %d took the lane, %d of them were finished, and %d passed: %s", p.Name, lane, finished, passed, before.to(after, p.Name))
		}
	}
}

// in runs fn in a machine's namespace.
func in[T any](w *world, p *lab.Port, fn func() (T, error)) T {
	w.t.Helper()
	var v T
	w.must(p.VM.Do(func() (err error) {
		v, err = fn()
		return err
	}))
	return v
}

// echo connects two machines by TCP. The second one's end answers whatever it
// hears with the same.
func (w *world) echo(a, b *lab.Port, to netip.Addr) *net.TCPConn {
	w.t.Helper()
	l := in(w, b, func() (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, 0)))
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := l.AcceptTCP()
		if err != nil {
			return // the test says why
		}
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 1<<16))
		c.Close()
	}()
	c := in(w, a, func() (*net.TCPConn, error) {
		return net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	})
	w.t.Cleanup(func() {
		c.Close()
		l.Close()
		<-ended
	})
	return c
}

// echoTCP sends pieces of any size over one connection, which must come back.
func (w *world) echoTCP(a, b *lab.Port, to netip.Addr) {
	w.t.Helper()
	c := w.echo(a, b, to)
	for n := range 300 {
		size := 1 + rand.IntN(3000)
		if n%10 == 0 {
			size = 1 + rand.IntN(50000)
		}
		said, heard := noise(size), make([]byte, size)
		w.must(c.SetDeadline(time.Now().Add(20 * time.Second)))
		go func() { _, _ = c.Write(said) }() // a failure ends in the reader's deadline
		if _, err := io.ReadFull(c, heard); err != nil {
			w.t.Fatalf("piece %d of %d bytes: %v", n, size, err)
		}
		if !bytes.Equal(said, heard) {
			w.t.Fatalf("piece %d of %d bytes came back changed", n, size)
		}
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// echoUDP sends datagrams of every length, which must come back, and several in
// one frame to be segmented, which must come back one by one. A datagram that
// OVS was shown as keep-alive may be lost: the userspace datapath does not take
// it for finished.
func (w *world) echoUDP(a, b *lab.Port, to netip.Addr) {
	w.t.Helper()
	server := in(w, b, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0)))
	})
	defer server.Close()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = server.WriteToUDPAddrPort(buf[:n], from)
			}
		}
	}()
	client := in(w, a, func() (*net.UDPConn, error) {
		return net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
	})
	defer client.Close()
	lost, everSaid := 0, make(map[string]bool)
	// ask wants the datagrams of said back, in any order.
	ask := func(what string, said []byte, size int, send func([]byte) error) {
		w.t.Helper()
		buf := make([]byte, 1<<16)
		for try := 0; ; try++ {
			w.must(send(said))
			missing := slices.Collect(slices.Chunk(said, max(size, 1)))
			if len(said) == 0 {
				missing = [][]byte{nil}
			}
			for _, m := range missing {
				everSaid[string(m)] = true
			}
			var err error
			for len(missing) > 0 {
				w.must(client.SetReadDeadline(time.Now().Add(300 * time.Millisecond * lab.Patience())))
				var n int
				if n, err = client.Read(buf); err != nil {
					break
				}
				i := slices.IndexFunc(missing, func(m []byte) bool { return bytes.Equal(m, buf[:n]) })
				if i >= 0 {
					missing = slices.Delete(missing, i, i+1)
				} else if !everSaid[string(buf[:n])] { // not one that was given up too early
					w.t.Fatalf("%s: a datagram of %d bytes came back that was not sent", what, n)
				}
			}
			if len(missing) == 0 {
				return
			}
			if lost++; try == 5 || lost > 50 {
				w.t.Fatalf("%s does not come back, %d are lost: %v", what, lost, err)
			}
		}
	}
	longest := 1500 - 20 - 8
	if to.Is6() {
		longest -= 20
	}
	for n := range longest + 1 {
		ask(fmt.Sprintf("a datagram of %d bytes", n), noise(n), n, func(b []byte) error {
			_, err := client.Write(b)
			return err
		})
	}
	raw, err := client.SyscallConn()
	w.must(err)
	for _, size := range []int{100, 300, 481, longest} {
		ask(fmt.Sprintf("three datagrams of %d bytes in one frame", size), noise(3*size), size, func(b []byte) error {
			var sent error
			return errors.Join(raw.Write(func(fd uintptr) bool {
				sent = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
				if sent == nil {
					_, sent = unix.Write(int(fd), b)
				}
				if sent == nil {
					sent = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0)
				}
				return true
			}), sent)
		})
	}
	w.t.Logf("%d datagrams were sent again", lost)
}
