// SPDX-License-Identifier: Apache-2.0

//go:build packages

package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// builder is buildah with a store of its own, which keeps the bases.
type builder struct {
	t    *testing.T
	args []string
}

func newBuilder(t *testing.T) builder {
	t.Helper()
	store, err := filepath.Abs(filepath.Join(root, ".cache/containers"))
	if err != nil {
		t.Fatal(err)
	}
	return builder{t, []string{"--root", store, "--runroot", t.TempDir(), "--storage-driver", "vfs"}}
}

func (b builder) run(args ...string) string {
	b.t.Helper()
	return strings.TrimSpace(run(b.t, "buildah", append(slices.Clone(b.args), args...)...))
}

// bases makes the images that the Containerfile begins with, of Debian's packages
// and this machine's Go, under the names that it knows them by: no registry is
// asked.
func (b builder) bases() {
	b.t.Helper()
	const debian, golang = "docker.io/library/debian:12-slim", "docker.io/library/golang:1.26"
	if have := b.run("images", "--format", "{{.Name}}:{{.Tag}}"); strings.Contains(have, debian) && strings.Contains(have, golang) {
		return
	}
	tree := filepath.Join(b.t.TempDir(), "debian.tar")
	run(b.t, "mmdebstrap", "--mode=root", "--variant=minbase", "bookworm", tree)
	c := b.run("from", "scratch")
	b.run("add", "--quiet", c, tree, "/")
	b.run("commit", "--quiet", c, debian)
	b.run("add", "--quiet", c, strings.TrimSpace(run(b.t, "go", "env", "GOROOT")), "/usr/local/go")
	b.run("config", "--env", "PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--env", "GOPATH=/go", "--env", "GOPROXY=off", c)
	b.run("commit", "--quiet", "--rm", c, golang)
}

// image builds the Containerfile and returns where its files are.
func (b builder) image() string {
	b.t.Helper()
	b.bases()
	run(b.t, "go", "mod", "download")
	b.run("build", "--pull-never", "--isolation", "chroot", "--network", "host",
		"-v", strings.TrimSpace(run(b.t, "go", "env", "GOMODCACHE"))+":/go/pkg/mod", "-f", "deploy/Containerfile", "-t", "ovs-xdp", ".")
	c := b.run("from", "--pull-never", "localhost/ovs-xdp")
	b.t.Cleanup(func() { b.run("rm", c) })
	return b.run("mount", c)
}

// pod is what a container runtime is told of the DaemonSet's container.
type pod struct {
	Args            []string
	Env             []struct{ Name, Value string }
	SecurityContext struct {
		Capabilities struct{ Add []string }
		RunAsUser    int  `yaml:"runAsUser"`
		Root         bool `yaml:"readOnlyRootFilesystem"`
		Escalation   bool `yaml:"allowPrivilegeEscalation"`
	} `yaml:"securityContext"`
	LivenessProbe struct{ Exec struct{ Command []string } } `yaml:"livenessProbe"`
	VolumeMounts  []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

func readPod(t *testing.T) pod {
	t.Helper()
	var set struct {
		Spec struct {
			Template struct{ Spec struct{ Containers []pod } }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/kubernetes/daemonset.yaml")), &set); err != nil || len(set.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("daemonset.yaml: %v", err)
	}
	return set.Spec.Template.Spec.Containers[0]
}

type object = map[string]any

// config is the runtime's file for the pod, as a kubelet would have it written,
// with these capabilities; volumes are folders of the host by name.
func (p pod) config(image string, capabilities []string, volumes map[string]string) object {
	env := []string{"PATH=/usr/sbin:/usr/bin"}
	for _, e := range p.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	mounts := []object{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		{"destination": "/sys", "type": "bind", "source": "/sys", "options": []string{"rbind", "ro", "nosuid", "noexec", "nodev"}},
	}
	for _, m := range p.VolumeMounts {
		options := []string{"rbind", "rslave", "rw"}
		if m.ReadOnly {
			options[2] = "ro"
		}
		mounts = append(mounts, object{"destination": m.MountPath, "type": "bind", "source": volumes[m.Name], "options": options})
	}
	return object{
		"ociVersion": "1.0.2",
		"root":       object{"path": image, "readonly": p.SecurityContext.Root},
		"mounts":     mounts,
		"process": object{
			"args": append([]string{"/usr/sbin/ovs-xdpd"}, p.Args...), "env": env, "cwd": "/",
			"user": object{"uid": p.SecurityContext.RunAsUser, "gid": 0}, "noNewPrivileges": !p.SecurityContext.Escalation,
			"capabilities": object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		// hostNetwork, hostPID: the namespaces are those of who runs it.
		"linux": object{"namespaces": []object{{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}},
			"maskedPaths": []string{"/proc/kcore", "/proc/keys"}, "readonlyPaths": []string{"/proc/sys", "/proc/sysrq-trigger"}},
	}
}

// node is a lab in which containers run.
type node struct {
	*lab.Lab
	t              *testing.T
	image, bundles string
	volumes        map[string]string
}

// start runs the pod with capabilities, as id.
func (n node) start(p pod, id string, capabilities []string) *lab.Process {
	n.t.Helper()
	bundle := filepath.Join(n.bundles, id)
	b, err := json.Marshal(p.config(n.image, capabilities, n.volumes))
	if err = errors.Join(err, os.MkdirAll(bundle, 0o755), os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644)); err != nil {
		n.t.Fatal(err)
	}
	c, err := n.Start(n.Hypervisor, "/usr/sbin/runc", n.runc("run", "--bundle", bundle, id)...)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n node) runc(args ...string) []string {
	return append([]string{"--root", filepath.Join(n.bundles, "state")}, args...)
}

// exec runs a command in the container, as a probe or kubectl exec does.
func (n node) exec(id string, command ...string) (string, error) {
	return n.Hypervisor.Exec(context.Background(), "runc", n.runc(append([]string{"exec", id}, command...)...)...)
}

// The image is built by a builder. The DaemonSet's container, with its command, its
// mounts and its capabilities, puts frames on the lane beside a real Open vSwitch,
// answers its probe and leaves nothing. Without a capability that is always needed it
// says so.
func TestContainer(t *testing.T) {
	image := newBuilder(t).image()
	for _, sh := range []string{"bin/sh", "usr/bin/sh", "bin/bash"} {
		if _, err := os.Lstat(filepath.Join(image, sh)); err == nil {
			t.Errorf("the image has %s", sh)
		}
	}
	l := lab.NewT(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bpffs, err := l.MountBPFFS()
	must(err)
	n := node{Lab: l, t: t, image: image, bundles: t.TempDir(),
		volumes: map[string]string{"openvswitch": l.RunDir, "bpffs": bpffs, "netns": "/run/netns", "btf": "/sys/kernel/btf"}}
	p := readPod(t)
	p.Args = []string{"--metrics-listen=unix:/var/run/openvswitch/metrics.sock"} // its port may be in use
	all := p.SecurityContext.Capabilities.Add
	names := func(list []string) []string {
		var names []string
		for _, c := range list {
			names = append(names, "CAP_"+c)
		}
		return names
	}

	// CAP_SYS_ADMIN stands for the other two in the kernel.
	for _, without := range [][]string{{"NET_ADMIN"}, {"BPF", "SYS_ADMIN"}, {"PERFMON", "SYS_ADMIN"}} {
		some := slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(without, c) })
		c := n.start(p, "without-"+strings.ToLower(without[0]), names(some))
		if err := c.Wait(20 * time.Second); err == nil || !strings.Contains(c.Output(20), "without CAP_"+without[0]) {
			t.Errorf("without CAP_%s: %v: %s", without[0], err, c.Output(20))
		}
	}

	must(l.AddBridge("br0"))
	c := n.start(p, "xdpd", names(all))
	answers := func(command ...string) string {
		t.Helper()
		var out string
		must(lab.Eventually(20*time.Second, func() (err error) {
			if c.Ended() {
				t.Fatalf("it has ended: %s", c.Output(40))
			}
			out, err = n.exec("xdpd", command...)
			return err
		}))
		return out
	}
	answers(p.LivenessProbe.Exec.Command...)
	a, err := l.AddVeth("br0", "v1", lab.PortOptions{Columns: []string{"tag=10"}})
	must(err)
	b, err := l.AddTap("br0", "t1", lab.PortOptions{Columns: []string{"tag=10"}})
	must(err)
	_, err = l.OVS("set", "bridge", "br0", "external_ids:xdp-offload=on")
	must(err)
	must(lab.Eventually(20*time.Second, func() error {
		must(a.Send(frame.UDP4(frame.Broadcast, a.MAC)))
		must(b.Send(frame.UDP4(frame.Broadcast, b.MAC)))
		time.Sleep(50 * time.Millisecond)
		if out := answers("ovs-xdpctl", "fdb"); strings.Count(out, "lane") < 2 {
			return fmt.Errorf("stations: %s", out)
		}
		return nil
	}))
	sent := frame.UDP4(b.MAC, a.MAC, frame.Ports(7, 7))
	for range 100 {
		must(a.Send(sent))
	}
	arrived := 0
	must(lab.Eventually(20*time.Second, func() error {
		list, err := b.Drain(100 * time.Millisecond)
		for _, f := range list {
			if bytes.Equal(f, sent) {
				arrived++
			}
		}
		if err == nil && arrived < 100 {
			err = fmt.Errorf("%d of 100 frames arrived", arrived)
		}
		return err
	}))
	if out := answers("ovs-xdpctl", "status", "br0"); !strings.Contains(out, "on the lane") {
		t.Errorf("status: %s", out)
	} else {
		t.Log(out)
	}
	lane := 0
	_, _ = fmt.Sscanf(strings.TrimSpace(after(answers("ovs-xdpctl", "coverage"), "lane")), "%d", &lane)
	if lane < 90 {
		t.Errorf("%d of 100 frames took the lane", lane)
	}
	// kubectl exec: the capabilities are the container's.
	capturing, err := n.Start(n.Hypervisor, "/usr/sbin/runc", n.runc("exec", "xdpd", "ovs-xdpctl", "capture", "t1", "-c", "3")...)
	must(err)
	must(lab.Eventually(20*time.Second, func() error {
		must(a.Send(sent))
		if !capturing.Ended() {
			return errors.New("capture has not ended: " + capturing.Output(20))
		}
		return nil
	}))
	if out := capturing.Output(20); strings.Count(out, " v1 > t1 "+a.MAC.String()) != 3 {
		t.Errorf("capture: %s", out)
	}
	must(c.Signal(15))
	must(c.Wait(20 * time.Second))
	programs, err := l.Hypervisor.XDPPrograms()
	if err != nil || len(programs) > 0 {
		t.Errorf("programs are left: %v, %v", programs, err)
	}
	if left, _ := filepath.Glob(filepath.Join(l.RunDir, "ovs-xdpd*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// after is the rest of the line that begins with a word.
func after(text, word string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, word+" "); ok {
			return rest
		}
	}
	return ""
}
