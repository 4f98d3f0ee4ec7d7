// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// manner is how a proxy treats what goes through it.
type manner int32

const (
	// through hands everything on.
	through manner = iota
	// hang takes connections and requests, and never answers.
	hang
	// cut ends each connection, a reply halfway.
	cut
	// huge makes a reply 50 MB long.
	huge
)

// hugeReply is how long a reply gets, in bytes.
const hugeReply = 50 << 20

// proxy stands between the daemon and a unix socket of the real Open vSwitch.
type proxy struct {
	path, target string
	control      bool // a control socket: requests and replies are told apart
	how          atomic.Int32

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	closed   bool
	work     sync.WaitGroup
	changed  chan struct{} // closed when how changes
}

func newProxy(path, target string, control bool) (*proxy, error) {
	p := &proxy{path: path, target: target, control: control, conns: make(map[net.Conn]struct{}), changed: make(chan struct{})}
	return p, p.listen()
}

func (p *proxy) listen() error {
	l, err := net.Listen("unix", p.path)
	if err != nil {
		return fmt.Errorf("stand in front of %s: %w", p.target, err)
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(c) })
		}
	})
	return nil
}

// set changes the manner. All but through and hang end the connections there are.
func (p *proxy) set(m manner) {
	p.how.Store(int32(m))
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if m == cut {
		p.drop()
	}
}

// vanish removes the socket and ends its connections, until listen.
func (p *proxy) vanish() {
	p.mu.Lock()
	l := p.listener
	p.mu.Unlock()
	l.Close()
	p.drop()
}

func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.set(cut)
	p.vanish()
	p.work.Wait()
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) end(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// pass waits while the manner is hang.
func (p *proxy) pass() {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if manner(p.how.Load()) != hang {
			return
		}
		<-changed
	}
}

func (p *proxy) serve(near net.Conn) {
	if !p.keep(near) {
		return
	}
	defer p.end(near)
	p.pass()
	far, err := net.Dial("unix", p.target)
	if err != nil || !p.keep(far) {
		return
	}
	defer p.end(far)
	var both sync.WaitGroup
	both.Go(func() { p.copy(far, near, false) })
	both.Go(func() { p.copy(near, far, p.control) })
	both.Wait()
}

// copy hands on what comes from one side until it ends; replies may be spoilt.
func (p *proxy) copy(to, from net.Conn, replies bool) {
	defer func() { to.Close(); from.Close() }()
	buf := make([]byte, 256<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.pass()
			b := buf[:n]
			m := manner(p.how.Load())
			switch {
			case replies && m == huge:
				b = lengthen(b)
			case m == cut:
				b = b[:n/2]
			}
			if _, err := to.Write(b); err != nil || m == cut {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// lengthen puts spaces in front of the text of a reply: still JSON, 50 MB of it.
func lengthen(b []byte) []byte {
	key := []byte(`"result":"`)
	i := bytes.Index(b, key)
	if i < 0 {
		return b
	}
	i += len(key)
	out := make([]byte, 0, len(b)+hugeReply)
	out = append(out, b[:i]...)
	out = append(out, bytes.Repeat([]byte{' '}, hugeReply)...)
	return append(out, b[i:]...)
}

// detour is a run directory for the daemon in which the sockets of OVS are
// proxies. Pidfiles and the sockets of bridges lead to the real ones.
type detour struct {
	n        *network
	control  *proxy
	database *proxy
}

func (n *network) newDetour() (*detour, error) {
	d := &detour{n: n}
	for _, name := range []string{"ovs-vswitchd.pid", "br0.mgmt", "br1.mgmt", "br2.mgmt"} {
		err := os.Symlink(filepath.Join(n.RunDir, name), filepath.Join(n.via, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	var err error
	if d.database, err = newProxy(filepath.Join(n.via, "db.sock"), filepath.Join(n.RunDir, "db.sock"), false); err != nil {
		return nil, err
	}
	real, _, err := unixctl.DaemonSocket(n.RunDir, "ovs-vswitchd")
	if err == nil {
		d.control, err = newProxy(filepath.Join(n.via, filepath.Base(real)), real, true)
	}
	if err != nil {
		d.database.close()
		return nil, err
	}
	return d, nil
}

func (d *detour) close() {
	d.control.close()
	d.database.close()
}
