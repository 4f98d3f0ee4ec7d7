// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTCP(t *testing.T) {
	server := listen(t, answerTCP)
	if err := talkTCP(server, 300_000); err != nil {
		t.Errorf("undisturbed: %v", err)
	}
	for name, c := range map[string]struct {
		out, in func([]byte) // what happens to what the client sends and receives
		want    string
	}{
		"changed on the way out": {out: changeLast, want: "it received other bytes"},
		"changed on the way in":  {in: changeLast, want: "it sent other bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := listen(t, func(l net.Listener) error {
				client, err := l.Accept()
				if err != nil {
					return err
				}
				defer client.Close()
				behind, err := net.Dial("tcp4", server)
				if err != nil {
					return err
				}
				defer behind.Close()
				// The last byte of the client's stream and of the server's.
				go forward(behind, client, 16+300_000, c.out)
				forward(client, behind, 300_000, c.in)
				return nil
			})
			if err := talkTCP(proxy, 300_000); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	cut := listen(t, func(l net.Listener) error {
		client, err := l.Accept()
		if err == nil {
			_, _ = io.CopyN(io.Discard, client, 16+1000)
			err = client.Close()
		}
		return err
	})
	if talkTCP(cut, 300_000) == nil {
		t.Error("a connection that is cut gives no error")
	}
}

func changeLast(b []byte) { b[len(b)-1] ^= 1 }

// forward copies n bytes that change may change, and then the rest.
func forward(to, from net.Conn, n int, change func([]byte)) {
	b := make([]byte, n)
	if _, err := io.ReadFull(from, b); err != nil {
		return
	}
	if change != nil {
		change(b)
	}
	_, _ = to.Write(b)
	_, _ = io.Copy(to, from)
}

// listen has serve serve at an address of its own until the test ends.
func listen(t *testing.T, serve func(net.Listener) error) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { _ = serve(l) }()
	return l.Addr().String()
}

func TestUDP(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(n int, b []byte) []byte // the reply to datagram n
		want   string                       // "" for no error
	}{
		"right":   {func(_ int, b []byte) []byte { return invert(b) }, ""},
		"changed": {func(n int, b []byte) []byte { b[len(b)-1] ^= byte(n / 50); return invert(b) }, "echoes another one"},
		"cut":     {func(n int, b []byte) []byte { return invert(b[:len(b)-n/50]) }, "echoes another one"},
		"lost": {func(n int, b []byte) []byte {
			if n == 50 {
				return nil
			}
			return invert(b)
		}, "wait for the echo of datagram 50"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			go func() {
				b := make([]byte, 1<<16)
				for i := 0; ; i++ {
					n, from, err := s.ReadFrom(b)
					if err != nil {
						return
					}
					if reply := c.answer(i, b[:n]); reply != nil {
						_, _ = s.WriteTo(reply, from)
					}
				}
			}()
			wait := 30 * time.Second
			if name == "lost" {
				wait = 2 * time.Second
			}
			err = talkUDP(s.LocalAddr().String(), 60, wait)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
