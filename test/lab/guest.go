// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
)

// guestScript is what a guest does.
//
//go:embed guest.sh
var guestScript []byte

// guestModules are what it needs for its cards and for the lab's port.
var guestModules = []string{"virtio_pci", "virtio_console", "virtio_net"}

// guestTimeout is how long a guest may take to start. It is emulated, and in the
// kernel lab by an emulated machine.
var guestTimeout = 5 * time.Minute * Patience()

// Guest is a virtual machine that QEMU emulates, with a kernel of its own. Its
// programs are those of busybox and `traffic`.
type Guest struct {
	// QEMU is the process; its log has the machine's console.
	QEMU *Process
	// Ports are the taps of its cards, in their order.
	Ports []*Port
	// Vhost tells whether the kernel of the hypervisor serves the cards
	// (vhost_net), not QEMU.
	Vhost bool

	mu     sync.Mutex // one command at a time
	conn   net.Conn
	answer *bufio.Reader
}

// Card is a virtio-net card of a Guest. It ends in a tap of the hypervisor that
// QEMU opens, a port of the bridge with the card's name.
type Card struct {
	Name string
	PortOptions
	// NoOffloads takes checksum and segmentation offload from the card, in both
	// directions: all frames are finished, and none is longer than the MTU.
	NoOffloads bool
}

func (c Card) options(mac string, vhost bool) []string {
	netdev := "tap,id=" + c.Name + ",ifname=" + c.Name + ",script=no,downscript=no"
	if vhost {
		netdev += ",vhost=on,vhostforce=on" // or no machine at all
	}
	device := "virtio-net-pci,netdev=" + c.Name + ",mac=" + mac + ",romfile="
	if c.NoOffloads {
		device += ",csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off" +
			",guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"
	}
	return []string{"-netdev", netdev, "-device", device}
}

// hasVhost tells whether this kernel serves virtio-net cards itself.
func hasVhost() bool {
	return exists("/dev/vhost-net") || exec.Command("modprobe", "-q", "vhost_net").Run() == nil
}

// AddGuest starts a virtual machine and waits until its cards are ports of the
// bridge and have their addresses.
func (l *Lab) AddGuest(bridge string, kernel *boot.Kernel, cards ...Card) (*Guest, error) {
	g := &Guest{Vhost: hasVhost()}
	err := g.start(l, bridge, kernel, cards)
	if err == nil {
		err = g.addresses(cards)
	}
	if err != nil {
		if g.QEMU != nil {
			err = fmt.Errorf("%w\nthe end of its console:\n%s", err, g.QEMU.Output(20))
		}
		return nil, fmt.Errorf("add a guest with Linux %s: %w", kernel.Release, err)
	}
	return g, nil
}

func (g *Guest) start(l *Lab, bridge string, kernel *boot.Kernel, cards []Card) error {
	program, err := l.Traffic()
	if err != nil {
		return err
	}
	traffic, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	first, err := kernel.Initramfs(guestScript, guestModules, boot.File{Name: "bin/traffic", Perm: 0o755, Content: traffic})
	if err != nil {
		return err
	}
	initramfs, socket := filepath.Join(l.Dir, "initramfs"), filepath.Join(l.Dir, "guest")
	if err := os.WriteFile(initramfs, first, 0o644); err != nil {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	defer listener.Close()
	options := append(kernel.Options(initramfs, 256), "-accel", "tcg", "-serial", "stdio", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=lab,path="+socket, "-device", "virtserialport,chardev=lab,name=lab")
	for _, c := range cards {
		p := l.newPort(bridge, c.Name, c.PortOptions)
		p.Kind = "tap"
		g.Ports = append(g.Ports, p)
		options = append(options, c.options(p.MAC.String(), g.Vhost)...)
	}
	if g.QEMU, err = l.Start(l.Hypervisor, boot.QEMU, options...); err != nil {
		return err
	}
	go func() { // nobody comes any more
		<-g.QEMU.done
		listener.Close()
	}()
	deadline := time.Now().Add(guestTimeout)
	if err := listener.SetDeadline(deadline); err != nil {
		return err
	}
	if g.conn, err = listener.Accept(); err != nil {
		return err
	}
	l.onClose(g.conn.Close)
	g.answer = bufio.NewReader(g.conn)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if _, err = g.Exec(ctx, "true"); err != nil {
		return err
	}
	// By now the driver has told what the taps may leave to the cards.
	for i, p := range g.Ports {
		if err := p.attach(cards[i].PortOptions); err != nil {
			return err
		}
	}
	return nil
}

// addresses configures the cards.
func (g *Guest) addresses(cards []Card) error {
	ctx, cancel := context.WithTimeout(context.Background(), guestTimeout)
	defer cancel()
	for i, c := range cards {
		out, err := g.Exec(ctx, "sh", "-c", "grep -l "+g.Ports[i].MAC.String()+" /sys/class/net/*/address")
		if err != nil {
			return fmt.Errorf("find the card %s: %w", c.Name, err)
		}
		device := filepath.Base(filepath.Dir(strings.TrimSpace(out)))
		if _, err := g.Exec(ctx, "ip", "address", "add", c.Addr.String(), "dev", device); err != nil {
			return err
		}
		if _, err := g.Exec(ctx, "ip", "link", "set", device, "up"); err != nil {
			return err
		}
	}
	return nil
}

// Exec runs a program in the guest, without standard input, and returns what it
// prints, on standard error too.
func (g *Guest) Exec(ctx context.Context, name string, args ...string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	words := append([]string{name}, args...)
	fail := func(err error) (string, error) { return "", fmt.Errorf("run %q in the guest: %w", words, err) }
	var line strings.Builder
	for _, w := range words {
		line.WriteString(boot.Quote(w) + " ")
	}
	if strings.Contains(line.String(), "\n") {
		return fail(errors.New("a command is one line"))
	}
	// A command that is given up leaves an answer that nobody waits for.
	defer context.AfterFunc(ctx, func() { g.conn.Close() })()
	if _, err := io.WriteString(g.conn, line.String()+"\n"); err != nil {
		return fail(errors.Join(err, context.Cause(ctx)))
	}
	var code, length int
	if _, err := fmt.Fscanf(g.answer, "%d %d\n", &code, &length); err != nil {
		return fail(errors.Join(err, context.Cause(ctx)))
	}
	out := make([]byte, length)
	if _, err := io.ReadFull(g.answer, out); err != nil {
		return fail(errors.Join(err, context.Cause(ctx)))
	}
	if code != 0 {
		return fail(fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(string(out))))
	}
	return string(out), nil
}

// Traffic returns the program `traffic`, linked statically: the one beside
// ovs-xdpd when there is one, or it is built.
func (l *Lab) Traffic() (string, error) {
	dir, err := Binaries()
	if err != nil {
		return "", err
	}
	if path := filepath.Join(dir, "traffic"); exists(path) {
		return path, nil
	}
	path := filepath.Join(l.Dir, "traffic")
	if exists(path) {
		return path, nil
	}
	c := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/ovs-xdp/ovs-xdp/test/lab/traffic")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build traffic: %w\n%s", err, out)
	}
	return path, nil
}
