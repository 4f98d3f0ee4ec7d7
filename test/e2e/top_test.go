// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// On a terminal, ovs-xdpctl top shows what the lane does, until the user ends it.
func TestTop(t *testing.T) {
	w, a, b := openLane(t)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for f := a.frameTo(b.mac); ; time.Sleep(5 * time.Millisecond) {
			select {
			case <-stop:
				return
			default:
				_ = a.port.Send(f)
			}
		}
	}()
	defer func() { close(stop); <-ended }()
	bin, err := lab.Binaries()
	w.must(err)
	t.Setenv("TERM", "xterm")
	t.Setenv("OVS_RUNDIR", w.RunDir)
	// script(1) makes a terminal; stty gives it a size.
	out, err := w.Hypervisor.Exec(context.Background(), "sh", "-c",
		`(sleep `+fmt.Sprint(4*int(lab.Patience()))+`; printf q) | script -qec "stty rows 20 cols 110; `+filepath.Join(bin, "ovs-xdpctl")+` top -i 500ms" `+os.DevNull)
	if err != nil {
		t.Fatalf("top: %v: %s", err, out)
	}
	for _, want := range []string{"lane open", "v1", "t1", "br0", "q quit", "100.0 %"} {
		if !strings.Contains(out, want) {
			t.Errorf("top shows no %q: %q", want, out)
		}
	}
}
