// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The reference has every metric, every reason for which a frame passes, or a megaflow
// stays with OVS, and no metric that is not there.
func TestReference(t *testing.T) {
	text := read(t, "deploy/REFERENCE.md")
	known(t, "REFERENCE.md", text)
	for name := range metrics(t) {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("no metric %s in REFERENCE.md", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\tREASON_([A-Z_]+)[ ,=]`).FindAllStringSubmatch(read(t, "bpf/src/layout.h"), -1) {
		name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-"))
		if name != "count" && !strings.Contains(text, "`"+name+"`") {
			t.Errorf("no reason %s in REFERENCE.md", name)
		}
	}
	_, kept, _ := strings.Cut(text, "\n## Why a megaflow stays with OVS\n")
	kept, _, _ = strings.Cut(kept, "\n## ")
	reasons := regexp.MustCompile(`(?m)^\t[A-Za-z0-9]+ +Reason += "([a-z0-9-]+)"`).FindAllStringSubmatch(read(t, "ovs/dpflow/reason.go"), -1)
	if len(reasons) < 30 {
		t.Errorf("%d reasons of megaflows", len(reasons))
	}
	for _, m := range reasons {
		if !strings.Contains(kept, "`"+m[1]+"`") {
			t.Errorf("no reason %s of megaflows in REFERENCE.md", m[1])
		}
	}
}

// Files that the guides name are there.
func TestGuidesNameFiles(t *testing.T) {
	guides, err := filepath.Glob(filepath.Join(root, "deploy/*.md"))
	if err != nil || len(guides) < 3 {
		t.Fatalf("guides: %v, %v", guides, err)
	}
	for _, guide := range append(guides, filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`((?:deploy|sync|bpf|ovs|test|cmd)/[A-Za-z0-9_./-]+|[A-Z]+\\.md)`").FindAllStringSubmatch(string(b), -1) {
			if strings.HasPrefix(m[1], "RESULTS") {
				continue // of test/chaos, as the README says
			}
			_, here := os.Stat(filepath.Join(filepath.Dir(guide), m[1]))
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil && here != nil {
				t.Errorf("%s names %s, which is not there", filepath.Base(guide), m[1])
			}
		}
	}
}
