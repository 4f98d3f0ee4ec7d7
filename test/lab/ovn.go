// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ovn returns the folder with OVN's programs and schemas: the root when it is
// installed, or where test/setup/unpack has put its packages.
func ovn() (string, error) {
	if exists("/usr/bin/ovn-controller") && exists("/usr/bin/ovn-northd") {
		return "/", nil
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(root, "test/setup/unpack"), "ovn", "ovn-common", "ovn-host", "ovn-central").Output()
	if err != nil {
		return "", fmt.Errorf("unpack OVN: %w", err)
	}
	return strings.TrimSpace(string(out)), nil // what apt says goes to its standard error
}

// nbctlTimeout bounds the wait for ovn-controller.
var nbctlTimeout = 5 * time.Second * Patience()

// StartOVN starts OVN beside the Lab's Open vSwitch: both of its databases,
// ovn-northd and ovn-controller, which makes the rules of br-int. mappings is
// ovn-bridge-mappings ("physnet:br-ex").
func (l *Lab) StartOVN(mappings string) error {
	root, err := ovn()
	if err != nil {
		return err
	}
	l.nbctl = filepath.Join(root, "usr/bin/ovn-nbctl")
	for _, db := range []string{"nb", "sb"} {
		file := filepath.Join(l.Dir, "ovn"+db+".db")
		if _, err := l.tool("ovsdb-tool", "create", file, filepath.Join(root, "usr/share/ovn/ovn-"+db+".ovsschema")); err != nil {
			return err
		}
		p, err := l.Start(l.Hypervisor, "/usr/sbin/ovsdb-server", file, "--remote=p"+l.ovnDB(db), "--pidfile="+filepath.Join(l.RunDir, "ovn"+db+".pid"),
			"--unixctl="+filepath.Join(l.RunDir, "ovn"+db+".ctl"), "--log-file="+filepath.Join(l.Dir, "ovn"+db+".log"), "-vconsole:off")
		if err != nil {
			return err
		}
		if err := Eventually(toolTimeout, func() error {
			_, err := l.tool("ovsdb-client", "list-dbs", l.ovnDB(db))
			if p.Ended() {
				err = errors.Join(err, fmt.Errorf("start OVN's database %s: %s", db, p.Output(20)))
			}
			return err
		}); err != nil {
			return err
		}
	}
	if _, err := l.OVS("set", "open_vswitch", ".", "external_ids:system-id=hypervisor", "external_ids:ovn-remote="+l.ovnDB("sb"),
		"external_ids:ovn-encap-type=geneve", "external_ids:ovn-encap-ip=127.0.0.1", "external_ids:ovn-bridge-mappings="+mappings,
		"external_ids:ovn-bridge-datapath-type="+l.DatapathType); err != nil {
		return err
	}
	// Where ovn-controller has to make it, it may try to reach it too early, and then
	// again later and later.
	if err := l.AddBridge("br-int", "fail_mode=secure"); err != nil {
		return err
	}
	if _, err := l.Start(l.Hypervisor, filepath.Join(root, "usr/bin/ovn-northd"), "--ovnnb-db="+l.ovnDB("nb"), "--ovnsb-db="+l.ovnDB("sb"), "--pidfile", "--log-file", "-vconsole:off"); err != nil {
		return err
	}
	// Now and then ovn-controller (23.03) does nothing more when it has connected.
	for tries := 1; ; tries++ {
		controller, err := l.Start(l.Hypervisor, filepath.Join(root, "usr/bin/ovn-controller"), "unix:"+filepath.Join(l.RunDir, "db.sock"), "--pidfile", "--log-file", "-vconsole:off")
		if err != nil {
			return err
		}
		if _, err = l.Nbctl("sync"); err == nil || tries == 5 {
			return err
		}
		controller.Kill()
	}
}

// Nbctl runs ovn-nbctl, and returns when ovn-controller has done what came of it.
func (l *Lab) Nbctl(args ...string) (string, error) {
	return l.tool(l.nbctl, append([]string{fmt.Sprintf("--timeout=%d", int(nbctlTimeout.Seconds())), "--db=" + l.ovnDB("nb"), "--wait=hv"}, args...)...)
}

// ovnDB is where OVN's database nb or sb listens.
func (l *Lab) ovnDB(name string) string {
	return "unix:" + filepath.Join(l.RunDir, "ovn"+name+".sock")
}
