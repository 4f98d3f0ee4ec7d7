// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// schema is where Open vSwitch packages put the schema of its database.
const schema = "/usr/share/openvswitch/vswitch.ovsschema"

// toolTimeout bounds every call of an Open vSwitch tool.
var toolTimeout = 15 * time.Second * Patience()

// datapathOfHost returns "system" where the kernel has, or can load, the
// openvswitch module.
func datapathOfHost() string {
	if _, err := os.Stat("/sys/module/openvswitch"); err == nil {
		return "system"
	}
	if exec.Command("modprobe", "-q", "openvswitch").Run() == nil {
		return "system"
	}
	return "netdev"
}

// environ is the environment in which Open vSwitch's programs and ours find
// the Lab's directories.
func (l *Lab) environ() []string {
	return append(os.Environ(),
		"OVS_RUNDIR="+l.RunDir, "OVS_DBDIR="+l.Dir, "OVS_LOGDIR="+l.Dir, "OVS_SYSCONFDIR="+l.Dir,
		"OVN_RUNDIR="+l.RunDir, "OVN_DBDIR="+l.Dir, "OVN_LOGDIR="+l.Dir, "OVN_SYSCONFDIR="+l.Dir)
}

func (l *Lab) vswitchdLog() string { return filepath.Join(l.Dir, "ovs-vswitchd.log") }

// startOVS makes a database and starts ovsdb-server and ovs-vswitchd.
func (l *Lab) startOVS() error {
	db := filepath.Join(l.Dir, "conf.db")
	if _, err := l.tool("ovsdb-tool", "create", db, schema); err != nil {
		return err
	}
	if err := l.StartOvsdb(); err != nil {
		return err
	}
	if _, err := l.OVS("--no-wait", "init"); err != nil {
		return err
	}
	return l.StartVswitchd()
}

// StartOvsdb starts ovsdb-server on the database that New has made. New has done
// so already: it is for tests that have killed it.
func (l *Lab) StartOvsdb() error {
	p, err := l.Start(l.Hypervisor, "/usr/sbin/ovsdb-server", filepath.Join(l.Dir, "conf.db"),
		"--remote=punix:"+filepath.Join(l.RunDir, "db.sock"), "--pidfile", "--log-file", "-vconsole:off")
	if err != nil {
		return err
	}
	l.Ovsdb = p
	return l.answers(p, "ovsdb-server")
}

// StartVswitchd starts ovs-vswitchd. New has done so already: it is for tests
// that have killed it.
func (l *Lab) StartVswitchd() error {
	p, err := l.Start(l.Hypervisor, "/usr/sbin/ovs-vswitchd", "--pidfile", "--log-file", "-vconsole:off")
	if err != nil {
		return err
	}
	l.Vswitchd = p
	return l.answers(p, "ovs-vswitchd")
}

// answers waits until the program's control socket does.
func (l *Lab) answers(p *Process, target string) error {
	var err error
	for deadline := time.Now().Add(toolTimeout); time.Now().Before(deadline); {
		if p.Ended() {
			return fmt.Errorf("start %s: it ended: %w\n%s", p.Name, p.Wait(0), p.Output(20))
		}
		// The pid file appears before the socket answers, and a stale one
		// would name a dead process.
		if b, readErr := os.ReadFile(filepath.Join(l.RunDir, target+".pid")); readErr == nil && string(b) == fmt.Sprintln(p.PID) {
			if _, err = l.control(target, "version"); err == nil {
				return nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("start %s: its control socket does not answer: %w\n%s", p.Name, err, p.Output(20))
}

// OVS runs ovs-vsctl and returns its output.
func (l *Lab) OVS(args ...string) (string, error) {
	return l.tool("ovs-vsctl", append([]string{"--timeout=10"}, args...)...)
}

// Appctl does what ovs-appctl does, and returns its output. With "-t" it runs
// that program; without, it asks ovs-vswitchd itself, which costs no process.
func (l *Lab) Appctl(args ...string) (string, error) {
	if args[0] == "-t" {
		return l.tool("ovs-appctl", append([]string{"--timeout=10"}, args...)...)
	}
	return l.control("ovs-vswitchd", args...)
}

// control runs a command on a daemon's control socket.
func (l *Lab) control(daemon string, args ...string) (string, error) {
	socket, _, err := unixctl.DaemonSocket(l.RunDir, daemon)
	if err != nil {
		return "", err
	}
	return (&unixctl.Client{Socket: socket}).Call(context.Background(), args[0], args[1:]...)
}

// Ofctl runs ovs-ofctl and returns its output.
func (l *Lab) Ofctl(args ...string) (string, error) {
	return l.tool("ovs-ofctl", append([]string{"--timeout=10"}, args...)...)
}

// tool runs a program next to Open vSwitch.
func (l *Lab) tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = l.environ()
	return l.Hypervisor.run(c)
}

// AddBridge makes a bridge of the Lab's datapath type, with these columns of
// its Bridge row ("fail_mode=standalone"), and sets its device up.
func (l *Lab) AddBridge(name string, columns ...string) error {
	args := []string{"add-br", name, "--", "set", "bridge", name, "datapath_type=" + l.DatapathType}
	if _, err := l.OVS(append(args, columns...)...); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	return l.Hypervisor.linkUp(name)
}

var packetCount = regexp.MustCompile(`\btable=0, n_packets=(\d+)`)

// FlowPackets returns how many frames the OpenFlow rules in table 0 of a bridge have
// matched, all rules together: what Open vSwitch itself has seen, each frame once. It
// first has ovs-vswitchd collect the counts from its datapath.
func (l *Lab) FlowPackets(bridge string) (uint64, error) {
	// Purging the datapath flows pushes their counts into the rules.
	if _, err := l.Appctl("revalidator/purge"); err != nil {
		return 0, fmt.Errorf("count frames of %s: %w", bridge, err)
	}
	out, err := l.Ofctl("-O", "OpenFlow13", "dump-flows", bridge)
	if err != nil {
		return 0, fmt.Errorf("count frames of %s: %w", bridge, err)
	}
	rules := packetCount.FindAllStringSubmatch(out, -1)
	if len(rules) == 0 {
		return 0, errors.New("count frames of " + bridge + ": it has no OpenFlow rule in table 0")
	}
	var sum uint64
	for _, r := range rules {
		n, err := strconv.ParseUint(r[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("count frames of %s: %w", bridge, err)
		}
		sum += n
	}
	return sum, nil
}
