// SPDX-License-Identifier: Apache-2.0

package boot

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

// prelude is what the kernel starts: it loads the modules and goes on with the
// machine's own script.
//
//go:embed prelude.sh
var prelude []byte

// A File is one that a machine starts with.
type File struct {
	Name    string // its path, without the first slash; the folder is there
	Perm    uint32
	Content []byte
}

// Initramfs returns a first file system for the kernel: busybox, under the names
// of all its programs in /bin; the modules, loaded with what they need (those
// that are built into the kernel are left out); the files; and a shell script,
// which runs as the first process when /proc, /sys and /dev are there. When the
// script ends, so does the machine.
func (k *Kernel) Initramfs(script []byte, modules []string, files ...File) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("make the initramfs of %s: %w", k.Release, err)
	}
	busybox, err := staticProgram("/bin/busybox")
	if err != nil {
		return fail(err)
	}
	dep, err := os.ReadFile(filepath.Join(k.Modules(), "modules.dep"))
	if err != nil {
		return fail(err)
	}
	builtin, err := os.ReadFile(filepath.Join(k.Modules(), "modules.builtin"))
	if err != nil {
		return fail(err)
	}
	paths, err := loadOrder(string(dep), string(builtin), modules)
	if err != nil {
		return fail(err)
	}
	var b bytes.Buffer
	a := archive{w: &b}
	for _, dir := range []string{"bin", "proc", "sys", "dev", "modules"} {
		a.dir(dir)
	}
	a.file("bin/busybox", 0o755, busybox)
	a.file("init", 0o755, prelude)
	a.file("script", 0o644, script)
	for i, path := range paths {
		module, err := os.ReadFile(filepath.Join(k.Modules(), path))
		if err != nil {
			return fail(err)
		}
		// The numbers keep the order.
		a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(path)), 0o644, module)
	}
	for _, f := range files {
		a.file(f.Name, f.Perm, f.Content)
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
