// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// TestCycles takes OVS from the daemon and gives it back, over and over: nothing
// may be left of a cycle, neither descriptors, nor goroutines, nor threads.
func TestCycles(t *testing.T) {
	n, err := newNetwork(*lane)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	fresh := newCycler(t, n)
	fresh.opens()
	goroutines := fresh.goroutines()

	c := newCycler(t, n)
	c.opens()
	var before usage
	started := time.Now()
	var took []time.Duration
	warm := min(10, *cycles/2)
	for i := range *cycles {
		if i == warm {
			before = c.used()
		}
		began := time.Now()
		c.cycle(i)
		took = append(took, time.Since(began))
	}
	c.settle(before)
	after, left := c.used(), c.goroutines()
	slices.Sort(took)
	text := fmt.Sprintf("%d cycles in %v (OVS lost and found: the database connection cut, the control socket cut, ovsdb-server or ovs-vswitchd killed and "+
		"started; median %v, longest %v): descriptors %d -> %d, goroutines %d -> %d (a fresh daemon has the former), threads %d -> %d, peak memory %d -> %d MiB.",
		*cycles, time.Since(started).Round(time.Second), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
		before.fds, after.fds, goroutines, left, before.threads, after.threads, before.peak>>10, after.peak>>10)
	t.Log(text)
	if after.fds > before.fds+3 || left > goroutines+5 || after.threads > before.threads+10 || after.peak > 2*before.peak {
		t.Errorf("something is left of cycles: %s", text)
	}
	told.cycles = text
	tell(t)
}

// cycler is a daemon whose OVS comes and goes.
type cycler struct {
	*daemon
	t *testing.T
	d *detour
}

func newCycler(t *testing.T, n *network) *cycler {
	t.Helper()
	d, err := n.newDetour()
	if err != nil {
		t.Fatal(err)
	}
	c := &cycler{t: t, d: d}
	t.Cleanup(func() { c.d.close() })
	if c.daemon, err = n.startDaemon(n.via, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cycler) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%v\nend of the log of ovs-xdpd:\n%s", err, c.Output(30))
	}
}

// is waits until the lane is "open" or "closed".
func (c *cycler) is(state string) {
	c.t.Helper()
	c.must(lab.Eventually(20*time.Second*lab.Patience(), func() error {
		status, err := c.ask("offload/show")
		if err == nil && !strings.Contains(status, "lane "+state) {
			err = fmt.Errorf("the lane is not %s:\n%s", state, status)
		}
		return err
	}))
}

func (c *cycler) opens() { c.t.Helper(); c.is("open") }

func (c *cycler) used() usage {
	c.t.Helper()
	u, err := c.daemon.used()
	c.must(err)
	return u
}

// settle waits until the descriptors of the last cycle are closed.
func (c *cycler) settle(before usage) {
	c.t.Helper()
	_ = lab.Eventually(10*time.Second*lab.Patience(), func() error {
		if u := c.used(); u.fds > before.fds {
			return fmt.Errorf("%d descriptors", u.fds)
		}
		return nil
	})
}

// cycle takes something from the daemon, sees the lane close, gives it back and
// sees the lane open.
func (c *cycler) cycle(i int) {
	c.t.Helper()
	n := c.n
	switch i % 10 {
	case 1: // another ovs-vswitchd, behind another socket
		n.Vswitchd.Kill()
		c.is("closed")
		c.must(n.StartVswitchd())
		c.d.close()
		var err error
		c.d, err = n.newDetour()
		c.must(err)
	case 3:
		n.Ovsdb.Kill()
		c.is("closed")
		c.must(n.StartOvsdb())
	case 5:
		c.d.control.set(cut)
		c.is("closed")
		c.d.control.set(through)
	default:
		how := cut
		if i%50 == 7 { // it takes a while until that is noticed
			how = hang
		}
		c.d.database.set(how)
		c.is("closed")
		c.d.database.set(through)
	}
	c.opens()
}

var goroutine = regexp.MustCompile(`(?m)^goroutine \d+ .*\[`)

// goroutines ends the daemon with SIGQUIT, at which the Go runtime prints all
// goroutines, and counts them.
func (c *cycler) goroutines() int {
	c.t.Helper()
	c.must(c.Signal(syscall.SIGQUIT))
	if err := c.Wait(10 * time.Second * lab.Patience()); err == nil {
		c.t.Fatal("the daemon exits with code 0 after SIGQUIT")
	}
	c.d.close()
	all := goroutine.FindAllString(c.Output(1<<20), -1)
	if len(all) == 0 {
		c.t.Fatal("no goroutines in what the daemon has printed")
	}
	return len(all)
}
