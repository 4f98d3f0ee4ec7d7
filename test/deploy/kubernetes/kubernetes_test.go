// SPDX-License-Identifier: Apache-2.0

// Package kubernetes builds the manifests in deploy/kubernetes as kustomize does,
// and reads each as Kubernetes does: by its own types, unknown fields refused. It
// is a module of its own, so that the daemon's does not know these libraries.
package kubernetes

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func TestManifests(t *testing.T) {
	dir, err := filepath.Abs("../../../deploy/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("kustomize build: %v", err)
	}
	var daemons appsv1.DaemonSet
	var namespace corev1.Namespace
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch r.GetKind() {
		case "DaemonSet":
			err = yaml.UnmarshalStrict(text, &daemons)
		case "Namespace":
			err = yaml.UnmarshalStrict(text, &namespace)
		default:
			t.Errorf("a resource of kind %s", r.GetKind())
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", r.GetKind(), err, text)
		}
	}
	if daemons.Namespace != namespace.Name || namespace.Name == "" {
		t.Errorf("the DaemonSet is in namespace %q, and %q is made", daemons.Namespace, namespace.Name)
	}
	pod := daemons.Spec.Template
	for key, value := range daemons.Spec.Selector.MatchLabels {
		if pod.Labels[key] != value {
			t.Errorf("the selector wants %s=%s, pods have %q", key, value, pod.Labels[key])
		}
	}
	if r := daemons.Spec.UpdateStrategy.RollingUpdate; r == nil || r.MaxUnavailable.IntValue() != 1 {
		t.Error("more than one node is updated at a time")
	}
	if !pod.Spec.HostNetwork || !pod.Spec.HostPID || len(pod.Spec.Containers) != 1 {
		t.Fatalf("pod: %+v", pod.Spec)
	}
	c := pod.Spec.Containers[0]
	if !strings.HasPrefix(c.Image, "registry.example/ovs-xdp:") {
		t.Errorf("image %q: kustomize has not set it", c.Image)
	}
	s := c.SecurityContext
	if s.Privileged == nil || *s.Privileged || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Error("the container has more than its capabilities")
	}
	for _, name := range []corev1.Capability{"NET_ADMIN", "BPF", "PERFMON"} {
		if !slices.Contains(s.Capabilities.Add, name) {
			t.Errorf("no CAP_%s", name)
		}
	}
	volumes := make(map[string]bool)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("no volume %s", m.Name)
		}
	}
	if c.LivenessProbe == nil || c.LivenessProbe.Exec == nil || c.LivenessProbe.Exec.Command[0] != "ovs-xdpctl" {
		t.Error("liveness is not asked over the control socket")
	}
}
