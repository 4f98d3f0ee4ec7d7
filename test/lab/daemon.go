// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// Daemon is a running ovs-xdpd.
type Daemon struct {
	*Process
	lab *Lab
}

// Binaries returns the folder with ovs-xdpd and ovs-xdpctl: OVS_XDP_BIN, or
// where `make build` puts them, bin in the repository that the working
// directory belongs to.
func Binaries() (string, error) {
	dir := os.Getenv("OVS_XDP_BIN")
	if dir == "" {
		root, err := repository()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, "bin")
	}
	for _, name := range []string{"ovs-xdpd", "ovs-xdpctl"} {
		if !exists(filepath.Join(dir, name)) {
			return "", fmt.Errorf("find %s: not in %s (run make build, or set OVS_XDP_BIN)", name, dir)
		}
	}
	return filepath.Abs(dir)
}

// repository is what the working directory belongs to.
func repository() (string, error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	for !exists(filepath.Join(root, "go.mod")) && root != "/" {
		root = filepath.Dir(root)
	}
	return root, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// StartDaemon starts ovs-xdpd next to Open vSwitch and waits until its
// control socket answers. Close of the Lab kills it.
func (l *Lab) StartDaemon(args ...string) (*Daemon, error) {
	p, err := l.launchDaemon(args...)
	if err != nil {
		return nil, err
	}
	return &Daemon{Process: p, lab: l}, l.answers(p, "ovs-xdpd")
}

// StartSecondDaemon starts another ovs-xdpd and doesn't wait for it: it is
// expected to end by itself.
func (l *Lab) StartSecondDaemon(args ...string) (*Process, error) { return l.launchDaemon(args...) }

func (l *Lab) launchDaemon(args ...string) (*Process, error) {
	dir, err := Binaries()
	if err != nil {
		return nil, err
	}
	return l.Start(l.Hypervisor, filepath.Join(dir, "ovs-xdpd"), args...)
}

// StartDaemonAs starts ovs-xdpd as a user and group of this number, with no
// capabilities but these (unix.CAP_BPF …), and gives that user the run directory
// with all sockets in it.
func (l *Lab) StartDaemonAs(user int, capabilities []uintptr, args ...string) (*Daemon, error) {
	if err := os.Chmod(l.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := filepath.WalkDir(l.RunDir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, user, user))
	}); err != nil {
		return nil, err
	}
	dir, err := Binaries()
	if err != nil {
		return nil, err
	}
	c := exec.Command(filepath.Join(dir, "ovs-xdpd"), args...)
	c.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: uint32(user), Gid: uint32(user)},
		AmbientCaps: capabilities,
	}
	p, err := l.launch(l.Hypervisor, c)
	if err != nil {
		return nil, err
	}
	return &Daemon{Process: p, lab: l}, l.answers(p, "ovs-xdpd")
}

// Ctl runs ovs-xdpctl and returns its output.
func (l *Lab) Ctl(args ...string) (string, error) {
	dir, err := Binaries()
	if err != nil {
		return "", err
	}
	return l.tool(filepath.Join(dir, "ovs-xdpctl"), args...)
}

// Stop ends the daemon with SIGTERM; it must exit with code 0 in time.
func (d *Daemon) Stop() error { return d.Process.Stop(10 * time.Second) }

// Status is what `ovs-xdpctl status -o json` prints.
type Status struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Lane is "open" or "closed".
	Lane string `json:"lane"`
	// LossesUnseen says why frames that are lost on the lane can't be seen.
	LossesUnseen string `json:"losses_unseen"`
	OVS          struct {
		Version string `json:"version"`
		Error   string `json:"error"`
	} `json:"ovs"`
	Bridges []BridgeStatus `json:"bridges"`
}

// BridgeStatus is a bridge in Status.
type BridgeStatus struct {
	Name string `json:"name"`
	// Mode is what the bridge's key asks for: "off", "observe" or "on".
	// State is what the daemon does, one of these or "refused".
	Mode  string `json:"mode"`
	State string `json:"state"`
	// Lane is the lane that it uses, "fdb" or "flows".
	Lane     string    `json:"lane"`
	Canary   int       `json:"canary"`
	VLANs    string    `json:"vlans"`
	Stations int       `json:"stations"`
	Frames   Frames    `json:"frames"`
	Audit    Audit     `json:"audit"`
	Errors   []string  `json:"errors"`
	Refusals []Refusal `json:"refusals"`
}

// Flow is what `ovs-xdpctl flows -o json` prints of a flow. Tags are 0 for none.
type Flow struct {
	Bridge    string `json:"bridge"`
	InPort    string `json:"in_port"`
	Tag       int    `json:"tag"`
	EtherType string `json:"eth_type"`
	Src       string `json:"src"`
	Dst       string `json:"dst"`
	To        string `json:"to"`
	NewTag    int    `json:"new_tag"`
}

// Audit counts what OVS said that it would do with frames.
type Audit struct {
	Asked      uint64 `json:"asked"`
	Agreed     uint64 `json:"agreed"`
	Mismatches uint64 `json:"mismatches"`
	Unanswered uint64 `json:"unanswered"`
	// Found is the evidence for which a lane was closed.
	Found *struct {
		At     time.Time `json:"at"`
		Detail string    `json:"detail"`
		Trace  string    `json:"trace"`
	} `json:"found"`
}

// Frames counts frames by the path they took.
type Frames struct {
	// Lane counts frames that were redirected, OVS frames that were passed,
	// Would those of the passed ones that observe mode would have redirected.
	Lane  uint64 `json:"lane"`
	Would uint64 `json:"would"`
	OVS   uint64 `json:"ovs"`
	// Finished counts, of those redirected, frames whose checksum was finished.
	Finished uint64 `json:"finished"`
	// Lost counts, of frames sent to a port, those that its device did not take.
	Lost uint64 `json:"lost"`
}

// Refusal says what stays out of the express lane, and why.
type Refusal struct {
	// Subject is a bridge, "br0", or a port, "br0/tap1".
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail"`
}

// PortStatus is an interface in the list of `ovs-xdpctl ports -o json`.
type PortStatus struct {
	Bridge    string `json:"bridge"`
	Port      string `json:"port"`
	Interface string `json:"interface"`
	OFPort    int    `json:"ofport"`
	IfIndex   int    `json:"ifindex"`
	// Ingress tells whether its frames may take the lane, Egress whether it
	// may be a target.
	Ingress bool `json:"ingress"`
	Egress  bool `json:"egress"`
	// Attach is "native", "generic" or "none".
	Attach   string `json:"attach"`
	VLANMode string `json:"vlan_mode"`
	Tag      int    `json:"tag"`
	// RX counts frames that came in at the interface, TX frames that the lane
	// sent out of it.
	RX Frames `json:"rx"`
	TX Frames `json:"tx"`
	// Reasons counts passed frames by reason.
	Reasons map[string]uint64 `json:"reasons"`
}

// FDBRow is a station in the list of `ovs-xdpctl fdb -o json`.
type FDBRow struct {
	Bridge    string `json:"bridge"`
	VLAN      int    `json:"vlan"`
	MAC       string `json:"mac"`
	Port      string `json:"port"`
	Interface string `json:"interface"`
	OFPort    int    `json:"ofport"`
	// State is "lane", "source-only" or "moved".
	State string `json:"state"`
}

// Status asks the daemon for its status.
func (l *Lab) Status() (Status, error) { return Ask[Status](l, "offload/show") }

// Ports asks the daemon for its ports.
func (l *Lab) Ports() ([]PortStatus, error) { return Ask[[]PortStatus](l, "port/show") }

// FDB asks the daemon for its stations.
func (l *Lab) FDB() ([]FDBRow, error) { return Ask[[]FDBRow](l, "fdb/show") }

// Ask asks the daemon for a document over its control socket, as ovs-xdpctl
// does, and without a process of its own.
func Ask[T any](l *Lab, command string, args ...string) (T, error) {
	var v T
	socket, _, err := unixctl.DaemonSocket(l.RunDir, "ovs-xdpd")
	if err != nil {
		return v, fmt.Errorf("ask ovs-xdpd: %w", err)
	}
	reply, err := (&unixctl.Client{Socket: socket}).CallJSON(context.Background(), command, args...)
	if err == nil {
		err = json.Unmarshal(reply, &v)
	}
	if err != nil {
		return v, fmt.Errorf("ask ovs-xdpd for %s: %w", command, err)
	}
	return v, nil
}

// Bridge returns the named bridge of a Status.
func (s Status) Bridge(name string) (BridgeStatus, error) {
	for _, b := range s.Bridges {
		if b.Name == name {
			return b, nil
		}
	}
	return BridgeStatus{}, fmt.Errorf("status of ovs-xdpd: no bridge %s", name)
}

// Eventually calls fn every few milliseconds until it returns nil, and
// returns its last error when it does not in time.
func Eventually(timeout time.Duration, fn func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := fn()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", timeout, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
