// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A mirror gets copies of the frames that it selects; these stay with OVS, and
// all others take the lane.
func TestMirrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	d, e := untagged(w.veth("v3", "tag=20"), 20), untagged(w.tap("t2", "tag=20"), 20)
	span := w.tap("span", "tag=99") // a port that nothing else reaches
	stations := []station{a, b, c, d, e}
	w.mode("on")
	for _, s := range stations {
		w.announce(s, "lane")
	}
	copied := func(w *world, from, to station) {
		w.t.Helper()
		f := from.frameTo(to.mac)
		w.bridge(from.port, f, map[string][]byte{to.port.Name: f, "span": f})
	}
	lane := func(w *world, from, to station) {
		w.t.Helper()
		f := from.frameTo(to.mac)
		w.lane(from.port, to.port, f, f)
	}
	for _, m := range []struct {
		name, mirror, refused string
		frames                func(w *world)
	}{
		{"source port", "--id=@v get port v1 -- --id=@m create mirror name=m select_src_port=@v", "br0/v1", func(w *world) {
			copied(w, a, b)
			lane(w, b, a)
			lane(w, b, c)
			f := a.frameTo(frame.Broadcast)
			w.bridge(a.port, f, map[string][]byte{"t1": f, "v2": f, "span": f})
		}},
		{"destination port", "--id=@v get port v1 -- --id=@m create mirror name=m select_dst_port=@v", "br0/v1", func(w *world) {
			copied(w, b, a)
			lane(w, a, b)
			lane(w, b, c)
		}},
		{"VLAN", "--id=@m create mirror name=m select_all=true select_vlan=20", "br0/v3", func(w *world) {
			copied(w, d, e)
			copied(w, e, d)
			lane(w, a, b)
		}},
		{"source port in another VLAN", "--id=@v get port v1 -- --id=@m create mirror name=m select_src_port=@v select_vlan=20", "br0/span", func(w *world) {
			lane(w, a, b)
		}},
	} {
		w.run(m.name, func(w *world) {
			args := append(strings.Fields("-- --id=@p get port span -- "+m.mirror+" output_port=@p"), strings.Fields("-- set bridge br0 mirrors=@m")...)
			_, err := w.OVS(args...)
			w.must(err)
			if text := w.refused(m.refused); !strings.Contains(text, "mirror") {
				w.t.Errorf("the refusal of %s: %s", m.refused, text)
			}
			w.state("on")
			w.row(c, "lane")
			m.frames(w)
			// OVS drops what the output port sends.
			w.bridge(span, frame.UDP4(a.mac, span.MAC), nil)
			_, err = w.OVS("clear", "bridge", "br0", "mirrors")
			w.must(err)
			for _, s := range stations {
				w.row(s, "lane")
			}
			// They were before, too, and are marked when they change.
			w.eventually(func() error {
				for _, f := range [][2]station{{a, b}, {d, e}} {
					if _, path := w.send(f[0].port, f[0].frameTo(f[1].mac), f[1].port.Name); path.lane == 0 {
						return &unexpected{f[0].port.Name, path}
					}
				}
				return nil
			})
			lane(w, a, b)
			lane(w, d, e)
		})
	}
	w.run("everything", func(w *world) {
		_, err := w.OVS(strings.Fields("-- --id=@p get port span -- --id=@m create mirror name=m select_all=true output_port=@p -- set bridge br0 mirrors=@m")...)
		w.must(err)
		w.state("refused")
		copied(w, a, b)
		copied(w, e, d)
	})
}
