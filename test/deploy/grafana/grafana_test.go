// SPDX-License-Identifier: Apache-2.0

// Package grafana reads the dashboard in deploy/grafana by types that are generated
// from Grafana's own schema, those of the panels and of the queries too: required
// fields must be there, unknown ones are refused. It is a module of its own, so that
// the daemon's does not know this library.
package grafana

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins()
	os.Exit(m.Run())
}

// read reads a dashboard as strictly as the schema is.
func read(text []byte) (dashboard.Dashboard, error) {
	var strict, d dashboard.Dashboard
	// The strict reader only judges: it keeps no panels.
	err := errors.Join(said(strict.UnmarshalJSONStrict(text)), json.Unmarshal(text, &d))
	return d, errors.Join(err, said(d.Validate()))
}

// said makes one error of the library's many, which may be none.
func said(err error) error {
	all, many := err.(cog.BuildErrors)
	if !many {
		return err
	}
	var errs []error
	for _, e := range all {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/grafana/ovs-xdp.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := read(text)
	if err != nil {
		t.Fatalf("the dashboard is not as Grafana's schema wants it:\n%v", err)
	}
	queries := 0
	for _, p := range d.Panels {
		if p.Panel == nil {
			continue
		}
		for _, q := range p.Panel.Targets {
			if q.DataqueryType() != "prometheus" {
				t.Errorf("panel %q asks %q", *p.Panel.Title, q.DataqueryType())
			}
			queries++
		}
	}
	if queries < 20 {
		t.Errorf("%d queries read", queries)
	}
	// What breaks it is noticed.
	for _, c := range [][2]string{
		{`"graphTooltip": 1`, `"graphTooltip": "1"`},
		{`"calcs"`, `"calc"`},
		{`"expr"`, `"expression"`},
		{`"showLegend": true`, `"showLegend": "yes"`},
		{`"refId": "A"`, `"refID": "A"`},
	} {
		if !strings.Contains(string(text), c[0]) {
			t.Errorf("no %s in the dashboard: the case shows nothing", c[0])
			continue
		}
		if _, err := read([]byte(strings.Replace(string(text), c[0], c[1], 1))); err == nil {
			t.Errorf("%s instead of %s is not noticed", c[1], c[0])
		}
	}
}
