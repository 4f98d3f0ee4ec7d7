// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
)

func TestPublished(t *testing.T) {
	s := Status{Version: "0.1.0", Lane: "open", Bridges: []Bridge{
		{Name: "br-bad", Mode: "off", State: "off", Errors: []string{"xdp-offload"}},
		{Name: "br-new", Mode: "on", State: "on"},
		{Name: "br-obs", Mode: "observe", State: "observe", Frames: Frames{OVS: 200, Would: 174}},
		{Name: "br-off", Mode: "off", State: "off"},
		{Name: "br-on", Mode: "on", State: "on", Frames: Frames{Lane: 930, OVS: 70}, Lost: 3},
		{Name: "br-ovn", Mode: "on", State: "refused", Refusals: []Refusal{{Reason: "flow-table"}, {Reason: "mirror"}}},
	}}
	want := map[string]map[string]string{
		"br-bad": {"xdp-status": "off: bad-key", "xdp-status-version": "0.1.0", "xdp-status-lost": "0"},
		"br-new": {"xdp-status": "on", "xdp-status-version": "0.1.0", "xdp-status-lost": "0"},
		"br-obs": {"xdp-status": "observe", "xdp-status-version": "0.1.0", "xdp-status-lost": "0", "xdp-status-share": "87"},
		"br-on":  {"xdp-status": "on", "xdp-status-version": "0.1.0", "xdp-status-lost": "3", "xdp-status-share": "93"},
		"br-ovn": {"xdp-status": "refused: flow-table", "xdp-status-version": "0.1.0", "xdp-status-lost": "0"},
	}
	if diff := cmp.Diff(want, s.Published()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	s.Lane = "closed"
	if got := s.Published()["br-on"]["xdp-status"]; got != "closed" {
		t.Errorf("with the lane closed br-on is %q", got)
	}
	for _, keys := range want {
		for key := range keys {
			if !slices.Contains(ovsdb.PublishedKeys, key) {
				t.Errorf("%s would not be removed", key)
			}
		}
	}
}
