// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	names := []string{
		"linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.1.0-56-cloud-amd64",
		"linux-image-6.1.0-57-rt-amd64", "linux-image-6.1.0-58-amd64-dbg", "linux-image-6.1.0-58-amd64-unsigned",
		"linux-image-6.12.100+deb12-amd64", "linux-image-6.12.9+deb12-amd64", "linux-image-6.12.117+deb12-cloud-amd64",
		"linux-image-6.12.117+deb12-amd64", "linux-image-6.12-amd64", "linux-image-6.10.11+bpo-amd64", "linux-image-amd64",
	}
	for series, want := range map[string][]string{
		"6.1":  {"linux-image-6.1.0-56-amd64", "linux-image-6.1.0-9-amd64"},
		"6.12": {"linux-image-6.12.117+deb12-amd64", "linux-image-6.12.100+deb12-amd64", "linux-image-6.12.9+deb12-amd64"},
		"5.15": nil,
	} {
		if got := candidates(names, series); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("candidates of %s: %q, want %q", series, got, want)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	const dep = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n" +
		"kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz\n" +
		"kernel/net/9p/9pnet-virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n" +
		"kernel/fs/netfs/netfs.ko.xz:\n"
	got, err := loadOrder(dep, "kernel/drivers/virtio/virtio_pci.ko\n", []string{"virtio_pci", "9pnet_virtio", "9p"})
	want := []string{"kernel/fs/netfs/netfs.ko.xz", "kernel/net/9p/9pnet.ko.xz", "kernel/net/9p/9pnet-virtio.ko.xz", "kernel/fs/9p/9p.ko.xz"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("order %q, error %v; want %q", got, err, want)
	}
	if _, err := loadOrder(dep, "", []string{"overlay"}); err == nil {
		t.Error("a module that isn't there gives no error")
	}
}

// TestArchive compares with what GNU cpio 2.13 writes (-H newc), apart from
// times and numbers of inodes and devices.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := archive{w: &b}
	a.dir("bin")
	a.file("bin/sh", 0o755, []byte("hello"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	header := func(inode, mode, links, size, name string) string {
		zero := "00000000"
		return "070701" + inode + mode + zero + zero + links + zero + size + strings.Repeat(zero, 4) + name + zero
	}
	want := header("00000001", "000041ed", "00000001", "00000000", "00000004") + "bin\x00\x00\x00" +
		header("00000002", "000081ed", "00000001", "00000005", "00000007") + "bin/sh\x00\x00\x00\x00" + "hello\x00\x00\x00" +
		header("00000000", "00000000", "00000001", "00000000", "0000000b") + "TRAILER!!!\x00\x00\x00\x00"
	if b.String() != want {
		t.Errorf("archive\n%s, want\n%s", hex.Dump(b.Bytes()), hex.Dump([]byte(want)))
	}
}

// A kernel in the cache that has changed is as good as none.
func TestDamagedCache(t *testing.T) {
	base := t.TempDir()
	const release = "6.12.9+deb12-amd64"
	k := &Kernel{release, filepath.Join(base, release)}
	if err := os.MkdirAll(filepath.Dir(k.Image()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.Image(), []byte("kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	if cached(base, "6.12") != nil {
		t.Error("a kernel without a seal counts")
	}
	if err := k.close("package"); err != nil {
		t.Fatal(err)
	}
	if got := cached(base, "6.12"); got == nil || got.Release != release {
		t.Errorf("cached: %+v", got)
	}
	if s, err := k.whole(); err != nil || s.Package != "package" {
		t.Errorf("seal %+v, error %v", s, err)
	}
	if err := os.WriteFile(k.Image(), []byte("kernal"), 0o644); err != nil {
		t.Fatal(err)
	}
	if cached(base, "6.12") != nil {
		t.Error("a damaged kernel counts")
	}
}

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, file, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	if unlock, err = lock(t.Context(), file, io.Discard); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// A machine of test/kernels has its own kernel and no other.
func TestOwnKernel(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("OVS_XDP_KERNEL", dir)
	if k, err := Get(t.Context(), "6.1", io.Discard); err == nil {
		t.Errorf("found %+v in an empty folder", k)
	}
	const release = "6.12.9+deb12-amd64"
	image := filepath.Join(dir, "boot", "vmlinuz-"+release)
	if err := os.Mkdir(filepath.Dir(image), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := Get(t.Context(), "6.1", io.Discard)
	if err != nil || k.Release != release || k.Image() != image || k.Modules() != filepath.Join(dir, "lib", "modules", release) {
		t.Errorf("kernel %+v, error %v", k, err)
	}
}

// QEMU 7.2 gives an interrupt that comes right after a failed cmpxchg16b flags
// that crash the machine: kernels must not be shown that there is one.
func TestNoCmpxchg16b(t *testing.T) {
	options := (&Kernel{}).Options("initramfs", 1)
	i := slices.Index(options, "-cpu")
	if i < 0 || !slices.Contains(strings.Split(options[i+1], ","), "-cx16") {
		t.Errorf("options are %q, want a CPU without cx16", options)
	}
}
