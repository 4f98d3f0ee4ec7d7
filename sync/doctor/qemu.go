// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// ParseQEMU reads the command line of a QEMU process; ok is false when it is none.
// Options that it does not understand it leaves out. Both forms of values are read:
// "virtio-net-pci,netdev=n0,csum=off" and the JSON that libvirt writes.
func ParseQEMU(args []string) (g Guest, ok bool) {
	if len(args) == 0 {
		return Guest{}, false
	}
	program := filepath.Base(args[0])
	if !strings.HasPrefix(program, "qemu-system-") && program != "qemu-kvm" && program != "kvm" {
		return Guest{}, false
	}
	g.VCPUs = 1
	netdevs := make(map[string]map[string]string)
	var cards []map[string]string
	for i := 1; i+1 < len(args); i++ {
		value := args[i+1]
		switch strings.TrimPrefix(strings.Replace(args[i], "--", "-", 1), "-") {
		case "name":
			o := options(value, "guest")
			g.Name = o["guest"]
		case "machine", "M":
			g.Machine = options(value, "type")["type"]
		case "smp":
			if n, err := strconv.Atoi(options(value, "cpus")["cpus"]); err == nil && n > 0 {
				g.VCPUs = n
			}
		case "netdev":
			if o := options(value, "type"); o["type"] == "tap" {
				netdevs[o["id"]] = o
			}
		case "device":
			if o := options(value, "driver"); strings.HasPrefix(o["driver"], "virtio-net") {
				cards = append(cards, o)
			}
		default:
			continue
		}
		i++
	}
	for _, o := range cards {
		if back, ok := netdevs[o["netdev"]]; ok {
			g.NICs = append(g.NICs, nicOf(o, back))
		}
	}
	return g, true
}

// offloads are the properties of virtio-net that matter; all are on by default.
var offloads = []string{"csum", "gso", "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "host_tso4", "host_tso6", "host_ecn", "host_ufo"}

// nicOf joins a card and the tap behind it.
func nicOf(card, back map[string]string) NIC {
	n := NIC{MAC: card["mac"], Tap: back["ifname"], Queues: 1, Vhost: isOn(back["vhost"]) || back["vhostfd"] != "" || back["vhostfds"] != "", Off: make(map[string]bool)}
	if q, err := strconv.Atoi(back["queues"]); err == nil && q > 0 {
		n.Queues = q
	}
	for _, fd := range strings.Split(first(back["fds"], back["fd"]), ":") {
		if fd, err := strconv.Atoi(fd); err == nil {
			n.Fds = append(n.Fds, fd)
		}
	}
	n.Queues = max(n.Queues, len(n.Fds))
	for _, o := range offloads {
		if value, ok := card[o]; ok && !isOn(value) {
			n.Off[o] = true
		}
	}
	return n
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func isOn(value string) bool { return value == "on" || value == "true" || value == "yes" }

// options reads a value of an option: properties with commas between, the first
// with or without its name, two commas being one; or a JSON object.
func options(value, implied string) map[string]string {
	o := make(map[string]string)
	if strings.HasPrefix(value, "{") {
		var v map[string]any
		if json.Unmarshal([]byte(value), &v) != nil {
			return o
		}
		for key, value := range v {
			o[key] = fmt.Sprint(value)
		}
		return o
	}
	const comma = "\x00"
	for i, part := range strings.Split(strings.ReplaceAll(value, ",,", comma), ",") {
		part = strings.ReplaceAll(part, comma, ",")
		key, v, named := strings.Cut(part, "=")
		switch {
		case named:
			o[key] = v
		case i == 0:
			o[implied] = part
		case strings.HasPrefix(part, "no") && len(part) > 2:
			o[part[2:]] = "off"
		default:
			o[part] = "on"
		}
	}
	return o
}
