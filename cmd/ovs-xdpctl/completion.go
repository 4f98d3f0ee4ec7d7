// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// scripts have each shell ask "ovs-xdpctl complete" what may come next, given
// the words so far, of which the last is not finished.
var scripts = map[string]string{
	"bash": `_ovs_xdpctl() {
    mapfile -t COMPREPLY < <(ovs-xdpctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _ovs_xdpctl ovs-xdpctl
`,
	"zsh": `#compdef ovs-xdpctl
_ovs_xdpctl() {
    local -a candidates
    candidates=("${(@f)$(ovs-xdpctl complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a candidates
}
if [ "$funcstack[1]" = _ovs_xdpctl ]; then _ovs_xdpctl "$@"; else compdef _ovs_xdpctl ovs-xdpctl; fi
`,
	"fish": `complete -c ovs-xdpctl -f -a '(ovs-xdpctl complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script.
func (c *completionCommand) Run(e *environment) error {
	_, err := fmt.Fprint(e.stdout, scripts[c.Shell])
	return err
}

type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints candidates, one a line; none when there is nothing to say.
func (c *completeCommand) Run(e *environment, k *kong.Kong) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, word := range candidates(k.Model.Node, words, e.names) {
		if _, err := fmt.Fprintln(e.stdout, word); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns what the last word may become. names gives those of what a
// positional argument stands for, with what came before it.
func candidates(root *kong.Node, words []string, names func(what string, before []string) []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	node, positional := root, []string(nil)
	var awaits *kong.Flag // a flag whose value comes next
	for _, word := range words[:len(words)-1] {
		switch {
		case awaits != nil:
			awaits = nil
		case strings.HasPrefix(word, "-"):
			awaits = valueFlag(node, word)
		case child(node, word) != nil:
			node = child(node, word)
		default:
			positional = append(positional, word)
		}
	}
	var all []string
	switch {
	case awaits != nil:
		all = enum(awaits.Value)
	case strings.HasPrefix(last, "-"):
		all = flagNames(node)
	case len(node.Children) > 0:
		for _, c := range node.Children {
			if !c.Hidden {
				all = append(all, c.Name)
			}
		}
	case len(positional) < len(node.Positional):
		p := node.Positional[len(positional)]
		if all = enum(p); len(all) == 0 {
			all = names(p.Name, positional)
		}
	}
	return slices.DeleteFunc(all, func(c string) bool { return !strings.HasPrefix(c, last) })
}

func child(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// flags returns those that may stand at a node.
func flags(n *kong.Node) []*kong.Flag {
	var all []*kong.Flag
	for _, group := range n.AllFlags(true) {
		all = append(all, group...)
	}
	return all
}

// valueFlag returns the flag that a word names if its value is the next word.
func valueFlag(n *kong.Node, word string) *kong.Flag {
	for _, f := range flags(n) {
		if (word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short)) && !f.IsBool() {
			return f
		}
	}
	return nil
}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range flags(n) {
		names = append(names, "--"+f.Name)
	}
	return names
}

func enum(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return strings.Split(v.Enum, ",")
}

// names asks the daemon for bridges and ports. One that does not answer at once
// has none.
func (e *environment) names(what string, before []string) []string {
	ctx, cancel := context.WithTimeout(e.ctx, time.Second)
	defer cancel()
	quick := *e
	quick.ctx = ctx
	var list []string
	switch what {
	case "bridge":
		var s report.Status
		if reply, err := quick.ask("offload/show"); err == nil && json.Unmarshal(reply, &s) == nil {
			for _, b := range s.Bridges {
				list = append(list, b.Name)
			}
		}
	case "in-port", "port-or-mac":
		var ports []report.Port
		if reply, err := quick.ask("port/show", before...); err == nil && json.Unmarshal(reply, &ports) == nil {
			for _, p := range ports {
				list = append(list, p.Interface)
			}
		}
	}
	return list
}
