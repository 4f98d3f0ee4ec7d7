// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// help is what a program prints of itself.
func help(t *testing.T, args ...string) string {
	t.Helper()
	bin, err := lab.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(bin, args[0]), append(args[1:], "--help")...).Output()
	if err != nil {
		t.Fatalf("%v --help: %v", args, err)
	}
	return string(out)
}

// flags returns the long options in a text.
func flags(text string) []string {
	list := regexp.MustCompile(`--[a-z][a-z-]*[a-z]`).FindAllString(text, -1)
	slices.Sort(list)
	return slices.Compact(list)
}

// commands returns those that a help lists.
func commands(text string) []string {
	_, list, _ := strings.Cut(text, "\nCommands:\n")
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+)  `).FindAllStringSubmatch(list, -1) {
		names = append(names, m[1])
	}
	return names
}

// page is a man page without its markup.
func page(t *testing.T, name string) string {
	t.Helper()
	text := read(t, "deploy/man/"+name)
	return regexp.MustCompile(`\\f.`).ReplaceAllString(strings.ReplaceAll(text, `\-`, "-"), "")
}

// Man pages have every option and command of --help, and no others.
func TestManPages(t *testing.T) {
	same := func(where string, want, got []string) {
		t.Helper()
		for _, f := range want {
			if !slices.Contains(got, f) {
				t.Errorf("%s: %s is not in the man page", where, f)
			}
		}
		for _, f := range got {
			if !slices.Contains(want, f) {
				t.Errorf("%s: the man page has %s, which is not there", where, f)
			}
		}
	}
	same("ovs-xdpd", flags(help(t, "ovs-xdpd")), flags(page(t, "ovs-xdpd.8")))

	text := help(t, "ovs-xdpctl")
	all := flags(text)
	man := page(t, "ovs-xdpctl.8")
	_, section, _ := strings.Cut(man, ".SH COMMANDS")
	section, _, _ = strings.Cut(section, ".SH ")
	names := commands(text)
	if len(names) < 9 {
		t.Fatalf("only the commands %v found in --help", names)
	}
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^\.TP\n(?:\.B )?([a-z]+)\b`).FindAllStringSubmatch(section, -1) {
		described = append(described, m[1])
	}
	same("commands of ovs-xdpctl", names, described)
	for _, name := range names {
		all = append(all, flags(help(t, "ovs-xdpctl", name))...)
	}
	slices.Sort(all)
	same("ovs-xdpctl", slices.Compact(all), flags(man))

	// Exit codes are told in both.
	for _, m := range regexp.MustCompile(`(?m)^\.TP\n(\d+)$`).FindAllStringSubmatch(man, -1) {
		if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(strings.Join(strings.Fields(text), " ")) {
			t.Errorf("--help does not tell of exit code %s", m[1])
		}
	}
}
