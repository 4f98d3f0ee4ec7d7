// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what the archives of testdata expect")

func TestBuild(t *testing.T) {
	for _, a := range archives(t) {
		name := strings.TrimSuffix(filepath.Base(a.path), ".txtar")
		t.Run(name, func(t *testing.T) {
			if len(strings.TrimSpace(a.comment)) == 0 {
				t.Error("the archive does not say what it claims")
			}
			res := Build(&a.snapshot, a.links, a.policy)
			frames, err := framesText(a.text("frames.txt"), &res.Tables, a.links)
			if err != nil {
				t.Fatal(err)
			}
			got := []struct{ name, text string }{
				{"tables.txt", tablesText(res.Tables)},
				{"refusals.txt", refusalsText(res.Refusals)},
				{"bridges.txt", bridgesText(res.Bridges)},
				{"frames.txt", frames},
			}
			for _, g := range got {
				if *update && (g.text != "" || g.name != "frames.txt") {
					a.put(g.name, g.text)
				} else if diff := cmp.Diff(a.text(g.name), g.text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", g.name, diff)
				}
			}
			if *update {
				if err := a.write(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// reasons returns the constants of type Reason in refusal.go, by name.
func reasons(t testing.TB) map[string]Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]Reason)
	for _, d := range file.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, s := range gen.Specs {
			v := s.(*ast.ValueSpec)
			typ, ok := v.Type.(*ast.Ident)
			if !ok || typ.Name != "Reason" || len(v.Values) != 1 {
				t.Fatalf("constant %s is not written as a Reason with a value of its own", v.Names[0])
			}
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found[v.Names[0].Name] = Reason(text)
		}
	}
	if len(found) == 0 {
		t.Fatal("refusal.go has no reasons")
	}
	return found
}

// Every reason appears in an archive, and no two constants share a text.
func TestEveryReasonIsShown(t *testing.T) {
	shown := make(map[Reason]bool)
	for _, a := range archives(t) {
		for _, r := range Build(&a.snapshot, a.links, a.policy).Refusals {
			shown[r.Reason] = true
		}
	}
	names := make(map[Reason]string)
	for name, r := range reasons(t) {
		if !shown[r] {
			t.Errorf("no archive of testdata shows the reason %s (%s)", name, r)
		}
		if other, ok := names[r]; ok {
			t.Errorf("%s and %s are both %q", name, other, r)
		}
		names[r] = name
		delete(shown, r)
	}
	for r := range shown {
		t.Errorf("reason %q is not a constant of refusal.go", r)
	}
}
