// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// outcome is a line of the table: what both runs of a fault have shown.
type outcome struct {
	with, alone *result
	broken      error
}

// report is what make chaos writes.
type report struct {
	command  string
	outcomes []outcome
	cycles   string // of TestCycles
	ovs      string // version
	datapath string
}

// row makes a line of a Markdown table.
func (o outcome) row() string {
	with := o.with
	lost := fmt.Sprintf("%d of %d", with.lost, with.sent)
	if with.ends {
		lost += fmt.Sprintf(" (%d after the exit)", with.afterDeath)
	}
	alone := "-"
	if o.alone != nil {
		alone = fmt.Sprintf("%d of %d", o.alone.lost, o.alone.sent)
	}
	others := fmt.Sprint(with.lostOthers)
	if o.alone != nil {
		others += fmt.Sprintf(" / %d", o.alone.lostOthers)
	}
	used := "-"
	if !with.ends {
		used = fmt.Sprintf("%.2f, %d MiB", max(with.cpu, 0), with.peak>>10)
	}
	verdict := "kept"
	if o.broken != nil {
		verdict = "**BROKEN**"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %d | %s | %s | %s |\n", with.name, with.promise, verdict, lost, alone, others,
		with.wrong+with.stray+with.corrupt, span(with.closedAfter, with.closes != stays), span(with.backAfter, !with.ends), used)
}

// span prints a time of a column that may not apply.
func span(d time.Duration, applies bool) string {
	switch {
	case !applies:
		return "-"
	case d < 0:
		return "never"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// write writes the report as Markdown.
func (r *report) write(path string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# What is lost when something goes wrong

Written by %s on %s: Linux %s, Open vSwitch %s, %s datapath, %d CPUs, shared with the traffic.

Steady traffic of at most %d frames a second in each of %d flows: between two machines, from and to a trunk with VLAN tags pushed and popped,
and on a second bridge with the same addresses; numbered frames, every byte compared, a receiver at every place of each bridge. The
figures count frames from before a fault until all was well again. "OVS alone" is the same fault without ovs-xdpd. "Others" are
flows that the fault itself does not cut off, with the lane and with OVS alone. "Wrong" are frames at a place where they must never be, frames that the lane
sent to a machine that nobody sends to, and changed frames. "Closed" is when the lane carried its last frame after the fault (for the
flows concerned), "back" when it carried every flow again after the fault was undone. "Daemon" is CPU in cores, and peak memory.
Where B is moved to another VLAN its frames are to be lost. With the userspace datapath of Open vSwitch 3.1 nothing is forwarded
while ovs-vswitchd is gone, nor while ovsdb-server is: what such faults cost with the lane is the time in which that is closed.

| fault | promise | | lost with the lane | lost by OVS alone | lost of others | wrong | closed after | back after | daemon |
|---|---|---|---|---|---|---|---|---|---|
`, "`"+r.command+"`", time.Now().UTC().Format("2 January 2006"), kernelVersion(), r.ovs, r.datapath, runtime.NumCPU(), rate, covered)
	for _, o := range r.outcomes {
		b.WriteString(o.row())
	}
	var notes []string
	for _, o := range r.outcomes {
		for _, n := range o.with.said {
			notes = append(notes, "- "+o.with.name+": "+n+".\n")
		}
	}
	if len(notes) > 0 {
		b.WriteString("\n" + strings.Join(notes, ""))
	}
	if r.cycles != "" {
		b.WriteString("\n" + r.cycles + "\n")
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func kernelVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	version, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return version
}

// describe notes what the network is.
func (r *report) describe(l *lab.Lab) error {
	text, err := l.Appctl("version")
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	r.ovs, r.datapath = words[len(words)-1], map[string]string{"netdev": "userspace", "system": "kernel"}[l.DatapathType]
	return nil
}
