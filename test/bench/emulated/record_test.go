// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"flag"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
)

var figuresFile = flag.String("figures", "", "add the figures to this file, as JSON")

func TestMain(m *testing.M) {
	flag.Parse()
	if *figuresFile == "" {
		return // 0
	}
	os.Exit(m.Run())
}

// record adds figures to the file.
func record(t *testing.T, s figure.Set) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	r := figure.Report{
		Title:   "Measured in an emulated machine",
		Command: "make bench-kernels",
		Machine: "Linux " + unix.ByteSliceToString(u.Release[:]) + " and the kernel datapath, in a machine of QEMU with one CPU on which each instruction takes a nanosecond",
	}
	t.Log(figure.Report{Sets: []figure.Set{s}}.Text())
	if b, err := os.ReadFile(*figuresFile); err == nil {
		if r, err = figure.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	r.Sets = append(r.Sets, s)
	b, err := r.Marshal()
	if err == nil {
		err = os.WriteFile(*figuresFile, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
