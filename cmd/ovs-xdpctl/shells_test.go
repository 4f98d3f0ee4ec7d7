// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each shell, with the script that is meant for it, completes a command line.
func TestShells(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "ovs-xdpctl"), ".").CombinedOutput(); err != nil {
		t.Fatalf("build ovs-xdpctl: %v\n%s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	daemon(t, map[string]string{"offload/show": `{"bridges":[{"name":"br-ex"},{"name":"br-int"},{"name":"ovs0"}]}`})
	for shell, program := range map[string]string{
		"bash": `source <(ovs-xdpctl completion bash)
			COMP_WORDS=(ovs-xdpctl status br) COMP_CWORD=2; _ovs_xdpctl; printf '%s\n' "${COMPREPLY[@]}"`,
		// A completion function can't be called outside of a completion: compadd
		// is put in its place, and prints.
		"zsh": `compadd() { print -l -- "${(P)2[@]}" }; compdef() { }
			source <(ovs-xdpctl completion zsh)
			words=(ovs-xdpctl status br) CURRENT=3; _ovs_xdpctl`,
		"fish": `ovs-xdpctl completion fish | source; complete -C 'ovs-xdpctl status br'`,
	} {
		t.Run(shell, func(t *testing.T) {
			args := map[string][]string{"bash": {"--norc", "-c"}, "zsh": {"-f", "-c"}, "fish": {"--no-config", "-c"}}[shell]
			c := exec.Command(shell, append(args, program)...)
			c.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%s (make packages installs it): %v\n%s", shell, err, out)
			}
			if got, want := strings.Fields(string(out)), []string{"br-ex", "br-int"}; !slices.Equal(got, want) {
				t.Errorf("%s completes %q, want %q", shell, got, want)
			}
		})
	}
}
