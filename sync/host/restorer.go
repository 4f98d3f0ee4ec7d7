// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// RestorerCommand is the argument with which the program is its own restorer: a
// process that holds the other end of a pipe and, when that is closed by
// whatever ended the daemon, turns on again what the daemon has turned off.
const RestorerCommand = "restore-offloads"

// restorer is the daemon's side of it.
type restorer struct {
	pipe  *os.File
	ended chan struct{} // closed when the process is gone
}

// startRestorer starts the process in a session of its own: what is sent to the
// daemon's process group does not reach it.
func startRestorer() (*restorer, error) {
	fail := func(err error) (*restorer, error) { return nil, fmt.Errorf("start the restorer of offloads: %w", err) }
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fail(errors.Join(err, w.Close()))
	}
	defer null.Close()
	p, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], RestorerCommand}, &os.ProcAttr{
		Files: []*os.File{r, null, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fail(errors.Join(err, w.Close()))
	}
	s := &restorer{pipe: w, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_, _ = p.Wait()
	}()
	return s, nil
}

// alive tells whether the process is there.
func (r *restorer) alive() bool {
	if r == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// tell hands over a hold; one without features takes back an earlier one. It is
// the process's once it is in the pipe.
func (r *restorer) tell(h hold) error {
	b, err := json.Marshal(h)
	if err == nil {
		_, err = r.pipe.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell the restorer of offloads: %w", err)
	}
	return nil
}

// close ends the process.
func (r *restorer) close() error {
	err := r.pipe.Close()
	<-r.ended
	return err
}

// Restore is the restorer: it reads holds from in until that ends, and then
// restores what is left of them. It returns the exit code.
func Restore(in io.Reader, log io.Writer) int {
	// The signals that end the daemon may be meant for all its processes: this
	// one ends with the pipe.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	// So that memory is not taken from here (proc(5); only root may).
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	held := make(map[int]hold)
	for d := json.NewDecoder(in); ; {
		var h hold
		if d.Decode(&h) != nil { // the end, or a line that is cut off by it
			break
		}
		held[h.IfIndex] = h
		if len(h.Features) == 0 {
			delete(held, h.IfIndex)
		}
	}
	if len(held) == 0 {
		return 0
	}
	bits, err := readFeatureBits()
	if err == nil {
		err = restoreAll(bits, held, log)
	}
	if err != nil {
		fmt.Fprintf(log, "ovs-xdpd ended, restoring what it had turned off failed: %v\n", err)
		return 1
	}
	return 0
}

func restoreAll(bits featureBits, held map[int]hold, log io.Writer) error {
	tool, err := openEthtool(bits)
	if err != nil {
		return err
	}
	defer tool.close()
	var errs []error
	for _, h := range held {
		awaitDetached(h.IfIndex)
		device, features, err := h.restore(tool)
		if len(features) > 0 {
			fmt.Fprintf(log, "ovs-xdpd ended: turned on %s of %s again\n", strings.Join(features, " "), device)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// awaitDetached waits until the daemon's program is off the device, where it is
// not to see frames without their tags; its lease has run out by the end.
func awaitDetached(ifindex int) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		l, err := netlink.LinkByIndex(ifindex)
		if err != nil || l.Attrs().Xdp == nil || !l.Attrs().Xdp.Attached {
			return
		}
	}
}
