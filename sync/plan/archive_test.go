// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
)

// An archive of testdata holds what Build is given (snapshot.json, links.json,
// policy.json, all in the form of encoding/json, and flows-BRIDGE.txt, what OVS
// prints of its megaflows) and what must come of it
// (tables.txt, refusals.txt, bridges.txt, and in frames.txt the verdicts of
// Tables.Decide). To keep archives to what matters, keys that the JSON leaves
// out are filled in: see fillSnapshot and fillLinks. A key that is present,
// even as null, {} or [], is left alone. An OpenFlow rule may be written as a
// string, in the manner of ovs-ofctl.
type archive struct {
	path     string
	comment  string
	files    []file
	snapshot ovs.Snapshot
	links    map[string]Link
	policy   Policy
}

// file is one file of a txtar archive: a line "-- NAME --" and what follows.
type file struct{ name, text string }

// split reads a txtar archive.
func split(text string) (comment string, files []file) {
	to := &comment
	for line := range strings.Lines(text) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "-- ")
		if name, end := strings.CutSuffix(name, " --"); ok && end {
			files = append(files, file{name: name})
			to = &files[len(files)-1].text
			continue
		}
		*to += line
	}
	return comment, files
}

// write puts the archive back where it came from.
func (a *archive) write() error {
	text := a.comment
	for _, f := range a.files {
		text += "-- " + f.name + " --\n" + f.text
	}
	return os.WriteFile(a.path, []byte(text), 0o644)
}

// archives reads all archives of testdata.
func archives(t testing.TB) []archive {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	var list []archive
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a := archive{path: path}
		a.comment, a.files = split(string(text))
		if err := a.parse(); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, a)
	}
	return list
}

// text returns the text of a file of the archive, "" when it is not there.
func (a *archive) text(name string) string {
	for _, f := range a.files {
		if f.name == name {
			return f.text
		}
	}
	return ""
}

// put replaces the text of a file, or adds it at the end.
func (a *archive) put(name, text string) {
	for i := range a.files {
		if a.files[i].name == name {
			a.files[i].text = text
			return
		}
	}
	a.files = append(a.files, file{name, text})
}

func (a *archive) parse() error {
	for _, f := range a.files {
		if isFlows(f.name) {
			continue
		}
		switch f.name {
		case "snapshot.json", "links.json", "policy.json", "tables.txt", "refusals.txt", "bridges.txt", "frames.txt":
		default:
			return fmt.Errorf("unknown file %s", f.name)
		}
	}
	snapshot, links := map[string]any{}, map[string]any{}
	if err := json.Unmarshal([]byte(a.text("snapshot.json")), &snapshot); err != nil {
		return fmt.Errorf("snapshot.json: %w", err)
	}
	if text := a.text("links.json"); text != "" {
		if err := json.Unmarshal([]byte(text), &links); err != nil {
			return fmt.Errorf("links.json: %w", err)
		}
	}
	if text := a.text("policy.json"); text != "" {
		if err := strict([]byte(text), &a.policy); err != nil {
			return fmt.Errorf("policy.json: %w", err)
		}
	}
	for _, f := range a.files {
		if !isFlows(f.name) {
			continue
		}
		if a.policy.Flows == nil {
			a.policy.Flows = make(map[string][]dpflow.Flow)
		}
		var err error
		if a.policy.Flows[strings.TrimSuffix(strings.TrimPrefix(f.name, "flows-"), ".txt")], err = readFlows(f.text); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	fillSnapshot(snapshot)
	if err := convert(snapshot, &a.snapshot); err != nil {
		return fmt.Errorf("snapshot.json: %w", err)
	}
	fillLinks(links, &a.snapshot)
	if err := convert(links, &a.links); err != nil {
		return fmt.Errorf("links.json: %w", err)
	}
	return nil
}

func isFlows(name string) bool { return strings.HasPrefix(name, "flows-") }

// readFlows reads megaflows as OVS prints them, without what does not matter here:
// "recirc_id(0),in_port(tap1),… actions:tap2".
func readFlows(text string) ([]dpflow.Flow, error) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		match, actions, ok := strings.Cut(strings.TrimSpace(line), ", actions:")
		if !ok {
			return nil, fmt.Errorf("%q has no actions", line)
		}
		fmt.Fprintf(&b, "ufid:00000000-0000-0000-0000-000000000000, %s, packets:0, bytes:0, used:never, actions:%s\n", match, actions)
	}
	return dpflow.Parse(b.String())
}

// strict decodes JSON whose keys must all be known.
func strict(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

func convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return strict(text, to)
}

type object = map[string]any

// fill sets the keys that are not in o.
func fill(o object, defaults object) {
	for k, v := range defaults {
		if _, ok := o[k]; !ok {
			o[k] = v
		}
	}
}

// elements returns the objects of a JSON array, none if it is something else.
func elements(o object, key string) []object {
	var list []object
	array, _ := o[key].([]any)
	for _, e := range array {
		list = append(list, e.(object))
	}
	return list
}

// fillSnapshot completes bridges to what a healthy OVS shows: offload is on,
// the table is a single NORMAL rule, nothing is learned. Port n of bridge b
// (both from 1) has one interface of its name, OpenFlow port n and ifindex
// 100*b+n.
func fillSnapshot(s object) {
	for b, br := range elements(s, "Bridges") {
		fill(br, object{
			"Name": "br0", "FailMode": "standalone",
			"ExternalIDs": object{KeyOffload: string(On)},
		})
		config := object{}
		for n, p := range elements(br, "Ports") {
			fill(p, object{"Interfaces": []any{object{}}})
			for _, i := range elements(p, "Interfaces") {
				fill(i, object{
					"Name": p["Name"], "OFPort": n + 1, "IfIndex": 100*(b+1) + n + 1,
					"AdminState": "up", "LinkState": "up",
				})
				if ofport, ok := i["OFPort"].(int); ok {
					config[fmt.Sprint(ofport)] = object{}
				}
				if ofport, ok := i["OFPort"].(float64); ok && ofport > 0 {
					config[fmt.Sprint(int(ofport))] = object{}
				}
			}
		}
		if _, failed := br["DetailError"]; !failed {
			fill(br, object{"Detail": object{}})
		}
		if d, ok := br["Detail"].(object); ok {
			fill(d, object{"Rules": []any{"actions=NORMAL"}, "FragMode": "normal", "PortConfig": config})
			rules, _ := d["Rules"].([]any)
			for i, r := range rules {
				if text, ok := r.(string); ok {
					rules[i] = readRule(text)
				}
			}
		}
	}
}

// fillLinks completes the links to one up and able tap for each interface of
// type "" or system; null takes a device away.
func fillLinks(links object, s *ovs.Snapshot) {
	for _, br := range s.Bridges {
		for _, p := range br.Ports {
			for _, i := range p.Interfaces {
				if i.Type != "" && i.Type != "system" {
					continue
				}
				fill(links, object{i.Name: object{}})
				if l, ok := links[i.Name].(object); ok {
					fill(l, object{
						"Name": i.Name, "IfIndex": i.IfIndex, "Driver": "tun", "MTU": 1500, "Up": true,
						"NativeXDP": Yes, "Transmits": Yes,
					})
				}
			}
		}
	}
	for name, l := range links {
		if l == nil {
			delete(links, name)
		}
	}
}
