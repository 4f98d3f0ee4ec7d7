// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/sync/capture"
	"github.com/ovs-xdp/ovs-xdp/sync/detach"
	"github.com/ovs-xdp/ovs-xdp/sync/doctor"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// fields calls fn with the JSON name of every field of a type, and of those in it.
func fields(t reflect.Type, fn func(path string)) {
	walk(t, "", map[reflect.Type]bool{}, fn)
}

func walk(t reflect.Type, path string, seen map[reflect.Type]bool, fn func(path string)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case f.Anonymous && name == "":
			walk(f.Type, path, seen, fn)
			continue
		case name == "":
			name = f.Name
		}
		fn(path + name)
		walk(f.Type, path+name+".", seen, fn)
	}
}

// The reference has every field of every document that -o json prints.
func TestReferenceHasFields(t *testing.T) {
	_, text, _ := strings.Cut(read(t, "deploy/REFERENCE.md"), "\n## Documents\n")
	text, _, _ = strings.Cut(text, "\n## ")
	n := 0
	for _, document := range []any{report.Status{}, report.Port{}, report.Station{}, report.Rule{}, report.Flow{}, report.Why{}, report.Stats{}, capture.Captured{}, doctor.Report{}, detach.Outcome{}} {
		of := reflect.TypeOf(document)
		fields(of, func(path string) {
			n++
			name := path[strings.LastIndex(path, ".")+1:]
			// As it stands there: alone, behind what it is in, or with the lists' brackets.
			for _, form := range []string{"`" + name + "`", "`" + path + "`", "." + name + "`", "`" + name + "[]`", "`" + name + "."} {
				if strings.Contains(text, form) {
					return
				}
			}
			t.Errorf("no field %s of %s in REFERENCE.md", path, of)
		})
	}
	if n < 100 {
		t.Errorf("only %d fields found", n)
	}
}
