// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

var update = flag.Bool("update", false, "write the golden files")

// told is a source that says the same always.
type told struct {
	status   report.Status
	ports    []report.Port
	coverage map[string]uint64
}

func (s told) Status() report.Status       { return s.status }
func (s told) Ports(string) []report.Port  { return s.ports }
func (s told) Coverage() map[string]uint64 { return s.coverage }
func (s told) LaneRules(int) []report.LaneRule {
	return []report.LaneRule{{Bridge: "br0", Lane: report.Count{Frames: 3, Bytes: 180}},
		{Bridge: "br0", Rule: "table=0,priority=100,tcp,tp_dst=25", Lane: report.Count{Frames: 7, Bytes: 420}}}
}
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
func get(c *http.Client, url string) (string, int, error) {
	r, err := c.Get(url)
	if err != nil {
		return "", 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), r.StatusCode, err
}

func example() told {
	return told{
		status: report.Status{
			Version: "0.1.0", Lane: "open", LeaseMS: 3500, OVS: report.OVS{Version: "3.1.0"},
			Bridges: []report.Bridge{
				{Name: "br-ext", Mode: "on", State: "on", Canary: 25, Ports: 2, Stations: 12,
					Audit:    report.Audit{Asked: 10, Agreed: 8, Mismatches: 1, Unanswered: 1, Found: &report.Finding{}},
					Refusals: []report.Refusal{{Reason: "port-off"}, {Reason: "port-off"}, {Reason: "bond"}}},
				{Name: "br-off", Mode: "off", State: "off", Errors: []string{"xdp-offload"}},
			},
		},
		ports: []report.Port{
			{Bridge: "br-ext", Interface: "tap1", Attach: "native", Ingress: true, Egress: true,
				RX: report.Frames{Lane: 750, OVS: 250, Would: 50, Finished: 3, LaneBytes: 9000, OVSBytes: 1000, WouldBytes: 200},
				TX: report.Sent{Lane: 17, Lost: 2}, Events: report.Events{Limited: 1, Lost: 4},
				Reasons: map[string]uint64{"lane": 750, "would": 50, "group": 200}},
			{Bridge: "br-ext", Interface: "vx\xff0", Attach: "none"},
		},
		coverage: map[string]uint64{"looks": 100, "failed-looks": 2, "fdb-full": 5},
	}
}

// What is offered is as Prometheus wants it, and does not change by accident.
func TestCollector(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Collector{example()})
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	got := regexp.MustCompile(`goversion="[^"]*"`).ReplaceAllString(b.String(), `goversion="go"`)
	const golden = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	for _, m := range all {
		name := regexp.MustCompile(`fqName: "([^"]*)"`).FindStringSubmatch(m.desc.String())[1]
		if !strings.Contains(got, "\n"+name) {
			t.Errorf("%s is described, and never there", name)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for s, want := range map[string]Address{
		"9517":                {"tcp", "127.0.0.1:9517"},
		":9517":               {"tcp", "127.0.0.1:9517"},
		"127.0.0.1:9517":      {"tcp", "127.0.0.1:9517"},
		"[::1]:9517":          {"tcp", "[::1]:9517"},
		"0.0.0.0:9517":        {"tcp", "0.0.0.0:9517"},
		"unix:/run/x/m.sock":  {"unix", "/run/x/m.sock"},
		"metrics.example:443": {"tcp", "metrics.example:443"},
	} {
		if got, err := ParseAddress(s); err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "localhost", "127.0.0.1", "127.0.0.1:http", ":0", ":70000", "unix:", "unix:m.sock", "::1:9517"} {
		if got, err := ParseAddress(s); err == nil || !strings.Contains(err.Error(), "want 127.0.0.1:PORT") {
			t.Errorf("ParseAddress(%q) = %v, %v; want an error that says what is wanted", s, got, err)
		}
	}
}

func TestServeTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := Address{"tcp", l.Addr().String()}
	if s, err := Serve(at, example(), false, quiet()); err == nil {
		_ = s.Close()
		t.Fatal("an address that is taken is no error")
	}
	// Another daemon has it, and leaves.
	s, err := Serve(at, example(), true, quiet())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	var body string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if body, _, err = get(http.DefaultClient, "http://"+at.At+"/metrics"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"ovs_xdp_lane_open 1\n", "go_goroutines", "process_start_time_seconds"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	if body, code, err := get(http.DefaultClient, "http://"+at.At+"/"); err != nil || code != 200 || !strings.Contains(body, "/metrics") {
		t.Errorf("/: %d %q %v", code, body, err)
	}
	if _, code, err := get(http.DefaultClient, "http://"+at.At+"/debug/pprof/"); err != nil || code != 404 {
		t.Errorf("/debug/pprof/: %d %v", code, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := get(http.DefaultClient, "http://"+at.At+"/metrics"); err == nil {
		t.Error("metrics are served after Close")
	}
	// One that waits for ever can be closed.
	if l, err = net.Listen("tcp", at.At); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if s, err = Serve(at, example(), true, quiet()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestServeUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	at := Address{"unix", path}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	answers := func() {
		t.Helper()
		if body, _, err := get(client, "http://ovs-xdpd/metrics"); err != nil || !strings.Contains(body, "ovs_xdp_lane_open 1") {
			t.Errorf("%q, %v", body, err)
		}
	}
	old, err := Serve(at, example(), false, quiet())
	if err != nil {
		t.Fatal(err)
	}
	answers()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	// Another takes its place before it leaves, and keeps the path.
	heir, err := Serve(at, example(), true, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	answers()
	if err := heir.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := Serve(at, example(), false, quiet()); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file is replaced by a socket: %v, %v", s, err)
	}
}
