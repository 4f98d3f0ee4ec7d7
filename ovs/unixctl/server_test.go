// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startServer serves a few commands on path until the test ends.
func startServer(t *testing.T, path string) {
	t.Helper()
	s := NewServer("ovs-xdpd", "1.2.3")
	s.Register(Command{Name: "echo", Usage: "[word]...", MaxArgs: -1, Run: func(_ context.Context, args []string) (Reply, error) {
		return Reply{Text: strings.Join(args, " "), JSON: args}, nil
	}})
	s.Register(Command{Name: "port/show", Usage: "bridge [port]", MinArgs: 1, MaxArgs: 2, Run: func(context.Context, []string) (Reply, error) {
		return Reply{Text: "ports"}, nil
	}})
	s.Register(Command{Name: "fail", Run: func(context.Context, []string) (Reply, error) {
		return Reply{}, errors.New("no such bridge")
	}})
	s.Register(Command{Name: "panic", Run: func(context.Context, []string) (Reply, error) { panic("boom") }})
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("socket after Serve: %v, want it removed", err)
		}
	})
}

func TestServerJSON(t *testing.T) {
	path := filepath.Join(shortDir(t), "ctl")
	startServer(t, path)
	c := Client{Socket: path}
	for _, tt := range []struct {
		method string
		args   []string
		want   string
	}{
		{"echo", []string{"a", "b"}, `["a","b"]`},
		{"port/show", []string{"br0"}, `{"reply":"ports","reply-format":"plain"}`},
		{"list-commands", nil, `{"echo":"[word]...","fail":"","list-commands":"","panic":"","port/show":"bridge [port]","set-options":"[--format text|json]","version":""}`},
	} {
		got, err := c.CallJSON(t.Context(), tt.method, tt.args...)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.method, got, err, tt.want)
		}
	}
	for want, args := range map[string][]string{
		"unrecognized option 'x'":                {"x"},
		"option '--format' requires an argument": {"--format"},
		"option format has invalid value xml":    {"--format=xml"},
	} {
		_, err := c.Call(t.Context(), "set-options", args...)
		var commandErr *CommandError
		if !errors.As(err, &commandErr) || commandErr.Text != want {
			t.Errorf("set-options %q: %v, want %q", args, err, want)
		}
	}
}

// TestServerWire shows what a connection sees for messages that no well
// behaved client sends.
func TestServerWire(t *testing.T) {
	path := filepath.Join(shortDir(t), "ctl")
	startServer(t, path)
	const closed = "closed"
	for name, tt := range map[string]struct{ send, want string }{
		"request":             {`{"method":"echo","params":["x"],"id":7}`, `{"error":null,"id":7,"result":"x\n"}`},
		"id that is a string": {`{"method":"echo","params":[],"id":"a"}`, `{"error":null,"id":"a","result":""}`},
		"number argument":     {`{"method":"echo","params":[1],"id":0}`, `{"error":"\"echo\" command has non-string argument\n","id":0,"result":null}`},
		"null argument":       {`{"method":"echo","params":[null],"id":0}`, `{"error":"\"echo\" command has non-string argument\n","id":0,"result":null}`},
		"malformed":           {`{"method":}`, closed},
		"null parameters":     {`{"method":"echo","params":null,"id":0}`, closed},
		"notification":        {`{"method":"echo","params":[],"id":null}`, closed},
		"no method":           {`{"params":[],"id":0}`, closed},
		"not an object":       {`[]`, closed},
		"too large":           {`{"method":"echo","params":["` + strings.Repeat("x", MaxRequest) + `"],"id":0}`, closed},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			conn.Write([]byte(tt.send))
			var got json.RawMessage
			if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&got); err != nil {
				got = json.RawMessage(closed)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	// None of that has hurt the server.
	if text, err := (&Client{Socket: path}).Call(t.Context(), "version"); err != nil || text != "ovs-xdpd 1.2.3\n" {
		t.Errorf("afterwards: %q, %v", text, err)
	}
}

func TestServerStopsWithIdleConnections(t *testing.T) {
	s := NewServer("d", "1")
	path := filepath.Join(shortDir(t), "ctl")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o750 != 0 {
		t.Errorf("mode %v, %v; want no more than 0750", info.Mode(), err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	for range MaxConnections + 3 { // more than it serves at once
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "ctl")
	s := NewServer("d", "1")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	if err := NewServer("d", "1").Listen(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("socket in use: %v", err)
	}
	s.listener.SetUnlinkOnClose(false)
	s.Close()
	again := NewServer("d", "1")
	if err := again.Listen(path); err != nil {
		t.Errorf("stale socket: %v", err)
	}
	again.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("regular file: %v", err)
	}
	if err := s.Listen("/tmp/" + strings.Repeat("x", 108)); err == nil || !strings.Contains(err.Error(), "the kernel takes 107") {
		t.Errorf("long path: %v", err)
	}
}
