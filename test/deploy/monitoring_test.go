// SPDX-License-Identifier: Apache-2.0

// Package deploy checks what is in the folder deploy with the tools that it is
// meant for: rules of Prometheus, the dashboard of Grafana, packages, man pages
// and manifests.
package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promtool runs it in the folder with the rules.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		dir, err := exec.Command(root+"/test/setup/unpack", "promtool", "prometheus").Output()
		if err != nil {
			t.Fatalf("find promtool: %v", err)
		}
		path = filepath.Join(strings.TrimSpace(string(dir)), "usr/bin/promtool")
	}
	c := exec.Command(path, args...)
	c.Dir = filepath.Join(root, "deploy/prometheus")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "ovs-xdp.rules.yml")
	promtool(t, "test", "rules", "ovs-xdp.test.yml")
	known(t, "ovs-xdp.rules.yml", read(t, "deploy/prometheus/ovs-xdp.rules.yml"))
}

// metrics are the names in the golden file of sync/metrics, which has all.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(read(t, "sync/metrics/testdata/metrics.txt"), -1) {
		names[m[1]] = true
	}
	return names
}

// known checks that every metric of ours in a text is one that the daemon has.
func known(t *testing.T, where, text string) {
	t.Helper()
	names := metrics(t)
	for _, name := range regexp.MustCompile(`(?:[a-z]+:)?\bovs_xdp_[a-z_]+\b`).FindAllString(text, -1) {
		if !strings.Contains(name, ":") && !names[name] {
			t.Errorf("%s: the daemon has no metric %s", where, name)
		}
	}
}

// dashboard is what is looked at of one.
type dashboard struct {
	UID           string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		FieldConfig struct {
			Defaults struct{ Unit string }
		}
		Targets []struct {
			RefID      string
			Expr       string
			Datasource struct{ UID string }
		}
	}
}

// The dashboard shows metrics that there are, by expressions that Prometheus
// takes, in panels that do not overlap.
func TestGrafanaDashboard(t *testing.T) {
	text := read(t, "deploy/grafana/ovs-xdp.json")
	var d dashboard
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	known(t, "ovs-xdp.json", text)
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	kinds := map[string]bool{"row": true, "stat": true, "timeseries": true, "table": true}
	ids, taken := make(map[int]bool), make(map[[2]int]string)
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q: id %d is not its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		if !kinds[p.Type] {
			t.Errorf("panel %q: type %q", p.Title, p.Type)
		}
		if p.Title == "" || p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q at %+v", p.ID, p.Title, p.GridPos)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("panels %q and %q overlap", taken[at], p.Title)
				}
				taken[at] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "") {
			t.Errorf("panel %q has no expression or no unit", p.Title)
		}
		for _, target := range p.Targets {
			if target.RefID == "" || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: target %+v", p.Title, target)
			}
			for _, v := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !variables[v[1]] {
					t.Errorf("panel %q: no variable %s", p.Title, v[1])
				}
			}
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$bridge", ".*").Replace(target.Expr)
			fmt.Fprintf(&rules, "      - record: dashboard:panel%d_%s\n        expr: %q\n", p.ID, target.RefID, expr)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
