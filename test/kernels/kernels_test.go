// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
)

// told is what a machine tells of two suites; the second hangs.
const told = "\x16ready 6.1.0-56-amd64\n\x16suite bpf\n" +
	"\x16=== RUN   TestA\n\x16=== RUN   TestA/x\n    a_test.go:1: text\n\x16--- FAIL: TestA (0.10s)\n\x16    --- FAIL: TestA/x (0.10s)\n" +
	"\x16=== RUN   TestB\nno end of line\x16--- PASS: TestB (0.00s)\n\x16=== RUN   TestC\n\x16--- SKIP: TestC (0.00s)\nFAIL\n" +
	"\x16code 1\n\x16suite e2e\n\x16=== RUN   TestD\n"

func TestReport(t *testing.T) {
	for _, chunk := range []int{1, 7, len(told)} {
		var text strings.Builder
		r := report{text: &text}
		for s := told; s != ""; s = s[min(chunk, len(s)):] {
			if _, err := r.Write([]byte(s[:min(chunk, len(s))])); err != nil {
				t.Fatal(err)
			}
		}
		if r.done || r.release != "6.1.0-56-amd64" || len(r.suites) != 2 {
			t.Fatalf("report %+v", r)
		}
		bpf, e2e := r.suites[0], r.suites[1]
		if got := strings.Join(bpf.problems(true), "; "); got != "failed: TestA; skipped without leave: TestC" {
			t.Errorf("problems of bpf: %s", got)
		}
		if got := strings.Join(e2e.problems(true), "; "); got != "did not end: TestD; the suite did not end" {
			t.Errorf("problems of e2e: %s", got)
		}
		want := "    a_test.go:1: text\n--- FAIL: TestA (0.10s)\n    --- FAIL: TestA/x (0.10s)\nno end of line\n" +
			"--- PASS: TestB (0.00s)\n--- SKIP: TestC (0.00s)\nFAIL\n"
		if text.String() != want {
			t.Errorf("text %q, want %q", text.String(), want)
		}
	}
}

// A machine that says nothing wrong must still have said all that is right.
func TestSummary(t *testing.T) {
	const good = "\x16ready 6.1.0-56-amd64\n\x16suite e2e\n\x16--- PASS: TestA (0.10s)\nPASS\n\x16code 0\n\x16done\n"
	for name, c := range map[string]struct{ told, alarm, want string }{
		"good":         {told: good},
		"silent":       {told: "", want: "ended after 0 of 1 suites"},
		"no end":       {told: strings.TrimSuffix(good, "\x16done\n"), want: "ended after 1 of 1 suites"},
		"no test":      {told: strings.Replace(good, "\x16--- PASS: TestA (0.10s)\n", "", 1), want: "no test ran"},
		"no suite":     {told: "\x16ready 6.1.0-56-amd64\n\x16done\n", want: "0 of 1 suites ran"},
		"exit code":    {told: strings.Replace(good, "code 0", "code 3", 1), want: "exit code 3"},
		"other kernel": {told: strings.Replace(good, "-56-", "-55-", 1), want: "the machine ran 6.1.0-55-amd64"},
		"not ready":    {told: "\x16failed load the module openvswitch\n", want: "can't load the module openvswitch"},
		"alarm":        {told: good, alarm: "BUG: unable to handle page fault", want: "it says: BUG: unable"},
	} {
		var out strings.Builder
		r := result{kernel: &boot.Kernel{Release: "6.1.0-56-amd64"}, report: report{text: &out}}
		_, _ = r.report.Write([]byte(c.told))
		if c.alarm != "" {
			r.alarms = []string{c.alarm}
		}
		err := r.summary(&tests{suites: suites[:1], out: &out})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if name == "good" && !strings.Contains(out.String(), "kernel 6.1.0-56 (datapath system): e2e 1 passed, 0 failed in 0 s\n") {
			t.Errorf("summary %q", out.String())
		}
	}
}

func TestAlarms(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console")
	console := "[ 1.0] tun: Universal TUN/TAP device driver\r\n[ 2.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\r\n"
	if err := os.WriteFile(file, []byte(console), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := alarms(file); len(got) != 1 || got[0] != "[ 2.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1" {
		t.Errorf("alarms %q", got)
	}
}

func TestUnknownSuite(t *testing.T) {
	if _, err := run(context.Background(), []string{"test", "-suites", "e2f"}, &strings.Builder{}); err == nil {
		t.Error("no error")
	}
}

func TestMatrix(t *testing.T) {
	results := []result{
		{kernel: &boot.Kernel{Release: "6.1.0-56-amd64"}, saw: []string{"b", "a", "b"}},
		{kernel: &boot.Kernel{Release: "6.12.117+deb12-amd64"}, saw: []string{"b", "c"}},
	}
	want := "| on the lane, kernel datapath | 6.1.0-56 | 6.12.117+deb12 |\n|---|---|---|\n" +
		"| a | yes | no |\n| b | yes | yes |\n| c | no | yes |\n"
	if got := matrix(results); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	dir := t.TempDir()
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("x\n"+matrixBegin+"old\n"+matrixEnd+"y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := putMatrix(dir, want); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(readme); string(b) != "x\n"+matrixBegin+want+matrixEnd+"y\n" {
		t.Errorf("README is\n%s", b)
	}
	if err := os.WriteFile(readme, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if putMatrix(dir, want) == nil {
		t.Error("no error without the marks")
	}
}

// A test that is named here and has another name by now would run where it should not,
// or nowhere.
func TestNamesOfTests(t *testing.T) {
	named := func(dir string) (names []string) {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no tests in %s: %v", dir, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				names = append(names, m[1])
			}
		}
		return names
	}
	programs, end := named("bpf"), named("test/e2e")
	for _, name := range slices.Concat(anyVersion, measurements) {
		if !slices.Contains(programs, name) && !slices.Contains(end, name) {
			t.Errorf("there is no %s", name)
		}
	}
	list := strings.TrimSuffix(strings.TrimPrefix(anyKernel, "^Test("), ")$")
	for _, name := range strings.Split(list, "|") {
		if !slices.Contains(end, "Test"+name) {
			t.Errorf("there is no end-to-end Test%s", name)
		}
		if slices.Contains(anyVersion, "Test"+name) && !slices.Contains(programs, "Test"+name) {
			t.Errorf("Test%s runs on the host alone, and on one of the kernels", name)
		}
	}
}
