// SPDX-License-Identifier: Apache-2.0

//go:build mutants

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// mutant is a way to break the program on purpose.
type mutant struct {
	name string
	// edits are substitutions in the source; each must match exactly once.
	edits []edit
}

type edit struct{ file, old, new string }

const program = "bpf/src/lane.bpf.c"

// without leaves a check out.
func without(check string) []edit { return []edit{{program, check, ""}} }

// mutants break what is done without rules.
var mutants = []mutant{
	{"source check dropped", []edit{
		{program, "if (unlikely(src.row.slot != bundle) || unlikely(src.row.flags & ROW_MOVED)) {", "if (0) {"}}},
	{"moved mark never set", without("\t\tfdb_sighted(f->src | domain, bundle);\n")},
	{"moved mark of the destination ignored", []edit{
		{program, "if (unlikely((dst.row.flags & (ROW_TARGET | ROW_MOVED)) != ROW_TARGET))", "if (!(dst.row.flags & ROW_TARGET))"}}},
	{"priority lost where the tag is kept", []edit{
		{program, "\treturn REASON_LANE;\n}", `	if (route->tag == TAG_KEEP && f->tagged) {
		void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

		if (data + ETH_HLEN + TAG_LEN > end)
			return REASON_RUNT;
		*(__be16 *)(data + 14) = bpf_htons(vlan);
	}
	return REASON_LANE;
}`}}},
	{"tagged frames accepted on access ports", []edit{{program, "else if (unlikely(r->flags & RULE_ACCESS))\n\t\treturn false; /* even its own VID */", "else if (0)\n\t\treturn false;"}}},
	{"hairpin check dropped", without("\tif (unlikely(dst_slot == bundle))\n\t\treturn leave(REASON_HAIRPIN);\n")},
	{"protected ports ignored", without("\tif (unlikely(in.flags & out.flags & RULE_PROTECTED))\n\t\treturn leave(REASON_PROTECTED);\n")},
	{"length ignored", []edit{{program, "> out.max_frame", "> 65535"}}},
	{"tags not popped", []edit{{program, "f->tagged ? TAG_POP : TAG_KEEP", "TAG_KEEP"}}},
	{"tags not pushed", []edit{{program, "f->tagged ? TAG_KEEP : TAG_PUSH", "TAG_KEEP"}}},
	{"another VID pushed", []edit{{program, "route->tci = vlan; /*", "route->tci = vlan ^ 1; /*"}}},
	{"native-untagged sends its native VLAN tagged", without("\tif ((r->flags & RULE_NATIVE_UNTAGGED) && vlan == (r->domain & DOMAIN_VLAN))\n\t\treturn false;\n")},
	{"odd tags taken", []edit{{program, "if (tagged_beside || unlikely(f->odd_tag))", "if (tagged_beside)"}}},
	{"ports closed for egress are targets", []edit{{program, "if (unlikely(!(out.flags & RULE_EGRESS)) || unlikely((out.domain ^ in.domain) & DOMAIN_BRIDGE))", "if ((out.domain ^ in.domain) & DOMAIN_BRIDGE)"}}},
	{"destination looked up in another bridge", []edit{
		{program, "fdb_find(f->dst | domain, &dst)", "fdb_find(f->dst | vlan | 1 << 12, &dst)"},
		{program, " || unlikely((out.domain ^ in.domain) & DOMAIN_BRIDGE))", ")"}}},
	{"mirrors ignored", without("\tif (unlikely(src.row.flags & ROW_MIRRORED))\n\t\treturn leave(REASON_MIRRORED);\n")},
	{"reserved unicast addresses delivered", []edit{
		{"sync/plan/plan.go", "return m == ovs.MAC{0x00, 0xe0, 0x2b, 0, 0, 0} ||", "return false ||"}}},
}

// build makes ovs-xdpd of a mutant in a copy of the source, and returns the
// folder of the programs.
func (m mutant) build(root, dir string) (string, error) {
	for _, part := range []string{"go.mod", "go.sum", "bpf", "cmd", "ovs", "sync"} {
		if err := copyTree(filepath.Join(root, part), filepath.Join(dir, part)); err != nil {
			return "", err
		}
	}
	for _, e := range m.edits {
		file := filepath.Join(dir, e.file)
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return "", fmt.Errorf("mutant %q: %q is %d times in %s, want once", m.name, e.old, n, e.file)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"generate", "./bpf"}, {"build", "-buildvcs=false", "-o", "bin/", "./cmd/..."}} {
		c := exec.Command("go", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("mutant %q: go %s: %w\n%s", m.name, strings.Join(args, " "), err, out)
		}
	}
	return filepath.Join(dir, "bin"), nil
}

// copyTree copies a file or a folder.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
