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

// way is one of those that frames with unfinished checksums can take.
type way struct{ name, mode, port, flag string }

var ways = []way{
	{"OVS alone", "off", "on", ""},
	{"xdp-offload=on", "on", "on", ""},
	{"xdp-offload=on, " + finishFlag, "on", "on", finishFlag},
	{"xdp-offload=target", "on", "target", ""},
}

// inRounds runs fn for each way by turns, of which it returns figures, logs their
// medians, and checks that most frames from the port took the way.
func (w *world) inRounds(rounds int, ports []string, names []string, ready func(), fn func() []float64) {
	w.t.Helper()
	figures := make([][][]float64, len(ways)) // by way and name
	for range rounds {
		for i, way := range ways {
			w.set("external_ids:xdp-offload=" + way.mode)
			for _, p := range ports {
				_, err := w.OVS("set", "interface", p, "external_ids:xdp-offload="+way.port)
				w.must(err)
			}
			w.stop()
			w.start(slices.DeleteFunc([]string{way.flag}, func(s string) bool { return s == "" })...)
			w.mode(way.mode)
			ready()
			before := w.counts()
			got := fn()
			p := before.to(w.counts(), ports[0])
			finished := w.counts().ports[ports[0]].RX.Finished
			if (finished > 100 && finished > p.lane/2) != (way.flag != "") || (p.reasons["checksum"] > 100) != (way.mode == "on" && way.port == "on" && way.flag == "") {
				w.t.Errorf("%s: %d finished; %s", way.name, finished, p)
			}
			figures[i] = append(figures[i], got)
		}
	}
	for i, way := range ways {
		for j, name := range names {
			var all []float64
			for _, round := range figures[i] {
				all = append(all, round[j])
			}
			w.t.Logf("%s, %s: %.0f %.0f", way.name, name, median(all), all)
		}
	}
}

// rounds is how often each way is measured.
func rounds() int {
	if testing.Short() {
		return 1
	}
	return 3
}

// What finishing checksums gains and costs: small TCP round trips and bulk TCP
// between containers that leave checksums to their devices.
func TestRatesWithUnfinishedChecksums(t *testing.T) {
	w := newWorld(t)
	if w.DatapathType == "netdev" {
		t.Skip("OVS's userspace datapath corrupts such frames itself: the kernel lab runs this test")
	}
	a, b := w.machines()
	_, err := w.Start(b.VM, "iperf3", "--server")
	w.must(err)
	w.inRounds(rounds(), []string{"v1", "v2"}, []string{"round trips of 64 bytes a second", "bulk TCP in Mbit/s"}, func() {
		w.reaches(a, b.Addr.Addr())
		time.Sleep(time.Second)
	}, func() []float64 {
		return []float64{w.roundTrips(a, b, 2*time.Second), w.iperf(a, b)}
	})
}

// The same for frames of virtual machines on taps, one way.
func TestRatesFromTapsWithUnfinishedChecksums(t *testing.T) {
	w := newWorld(t)
	if w.DatapathType == "netdev" || lab.TapsTakeMetadata() {
		t.Skip("for the kernel lab")
	}
	a, b := w.virtioTap("t1"), w.virtioTap("t2")
	sizes := []int{64, 512, 1448}
	var names []string
	for _, n := range sizes {
		names = append(names, fmt.Sprintf("TCP segments with %d bytes a second", n))
	}
	w.inRounds(rounds(), []string{"t1", "t2"}, names, func() {
		for _, from := range []*virtioTap{a, b} {
			w.must(from.write(make([]byte, 10), frame.UDP4(frame.Broadcast, from.mac)))
		}
		time.Sleep(2 * time.Second)
		b.drain()
	}, func() (rates []float64) {
		for _, n := range sizes {
			rates = append(rates, w.segments(a, b, n))
		}
		return rates
	})
}

// virtioTap is a tap as QEMU opens one: a struct virtio_net_hdr stands in front
// of each frame.
type virtioTap struct {
	file *os.File
	mac  ovs.MAC
}

func (w *world) virtioTap(name string) *virtioTap {
	w.t.Helper()
	v := &virtioTap{mac: w.NewMAC()}
	w.must(w.Hypervisor.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err == nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		v.file = os.NewFile(uintptr(fd), name)
		return nil
	}))
	w.t.Cleanup(func() { v.file.Close() })
	_, err := w.Hypervisor.Exec(w.t.Context(), "ip", "link", "set", name, "up")
	w.must(err)
	_, err = w.OVS("add-port", "br0", name, "tag=10")
	w.must(err)
	return v
}

func (v *virtioTap) write(header, b []byte) error {
	_, err := v.file.Write(append(slices.Clone(header), b...))
	return err
}

// drain reads until nothing comes.
func (v *virtioTap) drain() {
	buf := make([]byte, 2000)
	for {
		_ = v.file.SetReadDeadline(time.Now().Add(quiet))
		if _, err := v.file.Read(buf); err != nil {
			return
		}
	}
}

// segments returns how many TCP segments with so many bytes, and an unfinished
// checksum, go from one tap to another a second.
func (w *world) segments(from, to *virtioTap, payload int) float64 {
	w.t.Helper()
	const total, batch = 20000, 16
	sent := frame.TCP4(to.mac, from.mac, frame.Payload(noise(payload)), frame.PartialChecksum())
	finished := bytes.Clone(sent[:14+20+16])
	b := append([]byte{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}, sent...) // VIRTIO_NET_HDR_F_NEEDS_CSUM
	buf := make([]byte, 2000)
	start := time.Now()
	for n := 0; n < total; n += batch {
		for range batch {
			if _, err := from.file.Write(b); err != nil {
				w.t.Fatal(err)
			}
		}
		_ = to.file.SetReadDeadline(time.Now().Add(10 * time.Second))
		for i := 0; i < batch; {
			got, err := to.file.Read(buf)
			if err != nil {
				w.t.Fatalf("after %d frames: %v", n+i, err)
			}
			if bytes.HasPrefix(buf[10:got], finished) {
				i++
			}
		}
	}
	return total / time.Since(start).Seconds()
}

func median(v []float64) float64 {
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// roundTrips returns how often a second 64 bytes go to a machine and back over
// one TCP connection; it fails the test when they don't come back for long.
func (w *world) roundTrips(from, to *lab.Port, during time.Duration) float64 {
	w.t.Helper()
	c := w.echo(from, to, to.Addr.Addr())
	buf := make([]byte, 64)
	n, start := 0, time.Now()
	for ; time.Since(start) < during || n == 0; n++ {
		w.must(c.SetDeadline(time.Now().Add(10 * time.Second)))
		if _, err := c.Write(buf); err != nil {
			w.t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			w.t.Fatalf("after %d round trips: %v", n, err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
