// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// daemon serves commands on a control socket in a run directory of its own, in
// the place of ovs-xdpd.
func daemon(t *testing.T, commands map[string]string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("OVS_RUNDIR", dir)
	p, err := unixctl.CreatePidfile(filepath.Join(dir, "ovs-xdpd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Remove() })
	s := unixctl.NewServer("ovs-xdpd", "test")
	for name, document := range commands {
		s.Register(unixctl.Command{Name: name, MaxArgs: -1, Run: func(_ context.Context, args []string) (unixctl.Reply, error) {
			if document == "" {
				return unixctl.Reply{}, errors.New("no such bridge: " + strings.Join(args, " "))
			}
			return unixctl.Reply{Text: name + " " + strings.Join(args, " "), JSON: json.RawMessage(document)}, nil
		}})
	}
	if err := s.Listen(socketIn(dir)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() { stop(); _ = s.Close(); <-served })
}

func socketIn(dir string) string {
	return filepath.Join(dir, "ovs-xdpd."+strconv.Itoa(os.Getpid())+".ctl")
}

func command(t *testing.T, colours bool, args ...string) (stdout string, code int, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, &environment{stdout: &out, stderr: &errs, colours: colours})
	return out.String(), exitCode(err), err
}

func TestExitCodes(t *testing.T) {
	t.Run("without a daemon", func(t *testing.T) {
		t.Setenv("OVS_RUNDIR", t.TempDir())
		for _, args := range [][]string{{"status"}, {"ports"}, {"why", "br0", "v1", "0", "52:54:00:00:00:01"}, {"capture", "v1"}} {
			if _, code, err := command(t, false, args...); code != exitNotRunning {
				t.Errorf("%v: code %d, %v", args, code, err)
			}
		}
		for _, args := range [][]string{{"stat"}, {"why", "br0"}, {"status", "-o", "xml"}, {"completion", "tcsh"}, {"top", "-i", "1ms"}, {"top"},
			{"capture"}, {"capture", "v1", "--rate=0"}, {"capture", "v1", "-s", "1000000"}, {"capture", "v1", "-c", "-1"}} {
			if _, code, err := command(t, false, args...); code != exitUsage {
				t.Errorf("%v: code %d, %v", args, code, err)
			}
		}
		if out, code, err := command(t, false, "completion", "bash"); code != 0 || !strings.Contains(out, "complete -F") {
			t.Errorf("completion: code %d, %v: %s", code, err, out)
		}
	})
	t.Run("a daemon that refuses", func(t *testing.T) {
		daemon(t, map[string]string{"port/show": ""})
		for _, format := range []string{"text", "json"} {
			_, code, err := command(t, false, "ports", "br9", "-o", format)
			if code != exitFailed || err.Error() != "no such bridge: br9" {
				t.Errorf("-o %s: code %d, %v", format, code, err)
			}
		}
	})
	t.Run("a daemon that does not answer", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("OVS_RUNDIR", dir)
		p, err := unixctl.CreatePidfile(filepath.Join(dir, "ovs-xdpd.pid"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Remove() }()
		l, err := net.Listen("unix", socketIn(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		err = run(ctx, []string{"status"}, &environment{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)})
		if code := exitCode(err); code != exitNoAnswer || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("code %d, %v", code, err)
		}
	})
	t.Run("a daemon whose loop hangs", func(t *testing.T) {
		daemon(t, map[string]string{"offload/show": `{"version":"1","lane":"closed","why":"its loop hangs","stalled":true}`})
		for _, format := range []string{"text", "json"} {
			out, code, err := command(t, false, "status", "-o", format)
			if code != exitNoAnswer || !strings.Contains(out, "its loop hangs") {
				t.Errorf("-o %s: code %d, %v: %s", format, code, err, out)
			}
		}
	})
}

func TestColours(t *testing.T) {
	daemon(t, map[string]string{"offload/show": `{"version":"1","pid":2,"lane":"open","bridges":[{"name":"br0","state":"refused","mode":"on"}]}`})
	want := "ovs-xdpd 1, pid 2: lane open\nbridge br0: refused (asked for: on)\n"
	if out, _, err := command(t, false, "status"); out != want || err != nil {
		t.Errorf("without colours: %q, %v", out, err)
	}
	want = "ovs-xdpd 1, pid 2: \x1b[32mlane open\x1b[0m\nbridge br0\x1b[33m: refused\x1b[0m (asked for: on)\n"
	if out, _, err := command(t, true, "status"); out != want || err != nil {
		t.Errorf("with colours: %q, %v", out, err)
	}
	if out, _, err := command(t, true, "status", "-o", "json"); strings.Contains(out, "\x1b") || err != nil {
		t.Errorf("JSON has colours: %q, %v", out, err)
	}
}

func TestCandidates(t *testing.T) {
	daemon(t, map[string]string{
		"offload/show": `{"bridges":[{"name":"br-ex"},{"name":"br-int"},{"name":"ovs0"}]}`,
		"port/show":    `[{"interface":"tap1"},{"interface":"v1"}]`,
	})
	for _, tt := range []struct{ line, want string }{
		{"st", "status stats"},
		{"com", "completion"}, // not the hidden one
		{"status ", "br-ex br-int ovs0"},
		{"status br", "br-ex br-int"},
		{"status br-ex ", ""},
		{"status -o ", "text json"},
		{"status -o j", "json"},
		{"-o json why br-ex ", "tap1 v1"},
		{"why br-ex v", "v1"},
		{"why br-ex v1 ", ""},
		{"capture ", "tap1 v1"},
		{"top --int", "--interval"},
		{"completion z", "zsh"},
	} {
		args := append([]string{"complete", "--"}, strings.Split(tt.line, " ")...)
		out, code, err := command(t, false, args...)
		if code != 0 {
			t.Errorf("%q: code %d, %v", tt.line, code, err)
		}
		got := strings.Join(strings.Fields(out), " ")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
	}
}
