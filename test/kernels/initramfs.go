// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// initScript is what the kernel starts: it mounts the host's root.
//
//go:embed init.sh
var initScript []byte

// bootModules are needed to mount the root; what is built into the kernel is
// left out.
var bootModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"}

// initramfs returns the first file system of the kernel: busybox, the modules
// that the root needs, and initScript.
func initramfs(k *kernel) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("make the initramfs of %s: %w", k.release, err)
	}
	busybox, err := staticProgram("/bin/busybox")
	if err != nil {
		return fail(err)
	}
	dep, err := os.ReadFile(filepath.Join(k.modules(), "modules.dep"))
	if err != nil {
		return fail(err)
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules(), "modules.builtin"))
	if err != nil {
		return fail(err)
	}
	paths, err := loadOrder(string(dep), string(builtin), bootModules)
	if err != nil {
		return fail(err)
	}
	var b bytes.Buffer
	a := archive{w: &b}
	for _, dir := range []string{"bin", "proc", "sys", "dev", "host", "layer", "new", "modules"} {
		a.dir(dir)
	}
	a.file("bin/busybox", 0o755, busybox)
	a.file("init", 0o755, initScript)
	for i, path := range paths {
		module, err := os.ReadFile(filepath.Join(k.modules(), path))
		if err != nil {
			return fail(err)
		}
		// The numbers keep the order.
		a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(path)), 0o644, module)
	}
	if err := a.close(); err != nil {
		return fail(err)
	}
	return b.Bytes(), nil
}

// staticProgram reads a program that needs no library.
func staticProgram(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w (package busybox-static)", err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s needs shared libraries (install the package busybox-static)", path)
		}
	}
	return b, nil
}

// loadOrder returns the files of the modules and of what they depend on, in an
// order in which they can be loaded. dep and builtin are the files modules.dep
// and modules.builtin of depmod(8).
func loadOrder(dep, builtin string, names []string) ([]string, error) {
	// "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz …": path to the rest,
	// and the module's name to its path.
	needs, paths := make(map[string][]string), make(map[string]string)
	for line := range strings.Lines(dep) {
		path, rest, found := strings.Cut(line, ":")
		if !found {
			continue
		}
		paths[moduleName(path)], needs[path] = path, strings.Fields(rest)
	}
	inKernel := make(map[string]bool)
	for _, path := range strings.Fields(builtin) {
		inKernel[moduleName(path)] = true
	}
	var order []string
	var add func(path string)
	add = func(path string) {
		for _, p := range needs[path] {
			add(p)
		}
		if !slices.Contains(order, path) {
			order = append(order, path)
		}
	}
	for _, name := range names {
		if inKernel[name] {
			continue
		}
		path, found := paths[name]
		if !found {
			return nil, fmt.Errorf("no module %s in modules.dep or modules.builtin", name)
		}
		add(path)
	}
	return order, nil
}

// moduleName returns the name of a module in a file:
// "kernel/drivers/net/virtio-foo.ko.xz" is "virtio_foo".
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
