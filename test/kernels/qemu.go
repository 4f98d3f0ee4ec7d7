// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
)

// initScript makes the host's root that of the machine.
//
//go:embed init.sh
var initScript []byte

// initModules are what it needs.
var initModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"}

// guestScript is what init.sh goes on with.
//
//go:embed guest.sh
var guestScript []byte

// A machine says how virtual machines are made.
type machine struct {
	repository   string // the folder of go.mod
	cpus, memory int    // MiB
	accel        string // of QEMU
	icount       bool   // an instruction takes a nanosecond
}

// A guest is one run of a virtual machine.
type guest struct {
	machine
	kernel *boot.Kernel
	// share is a folder that the guest sees as /run/kernels; job.sh in it is
	// what the guest does.
	share string
	// console takes what is printed on the serial console; nil connects it to
	// this process's terminal.
	console *os.File
	// heard gets what the guest tells through the port of the harness.
	heard io.Writer
}

// files puts the files into the share that a guest needs beside its job.
func (g *guest) files() error {
	first, err := g.kernel.Initramfs(initScript, initModules)
	if err != nil {
		return err
	}
	settings := fmt.Sprintf("REPOSITORY=%s\nNICS=%s\n", boot.Quote(g.repository), boot.Quote(describeCards()))
	bin := filepath.Join(g.share, "bin")
	return errors.Join(
		os.WriteFile(filepath.Join(g.share, "initramfs"), first, 0o644),
		os.WriteFile(filepath.Join(g.share, "guest.sh"), guestScript, 0o644),
		os.WriteFile(filepath.Join(g.share, "settings.sh"), []byte(settings), 0o644),
		os.MkdirAll(bin, 0o755),
		os.CopyFS(bin, os.DirFS(filepath.Join(g.repository, "bin"))))
}

// boot runs the guest until it ends. When the context ends first, or this
// process does, QEMU is killed.
func (g *guest) boot(ctx context.Context) error {
	fail := func(err error) error { return fmt.Errorf("run a machine with Linux %s: %w", g.kernel.Release, err) }
	if err := g.files(); err != nil {
		return fail(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	defer w.Close()
	c := exec.CommandContext(ctx, boot.QEMU, g.options()...)
	c.Args = append(c.Args, "-chardev", "file,id=harness,path=/dev/fd/3")
	c.ExtraFiles = []*os.File{w}
	var errs strings.Builder
	c.Stdout, c.Stderr = os.Stdout, &errs
	if g.console == nil {
		c.Stdin, c.Stderr = os.Stdin, os.Stderr
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	heard := make(chan error, 1)
	go func() {
		_, err := io.Copy(g.heard, r)
		heard <- err
	}()
	// The signal comes at the end of the thread that started QEMU.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		return fail(err)
	}
	w.Close()
	err = errors.Join(c.Wait(), <-heard)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fail(fmt.Errorf("%w\n%s", err, errs.String()))
	}
	return nil
}

// options returns QEMU's options, without those that need files of this process.
func (g *guest) options() []string {
	console := "stdio,id=console,signal=off,mux=on"
	if g.console != nil {
		console = "file,id=console,path=" + g.console.Name()
	}
	o := append(g.kernel.Options(filepath.Join(g.share, "initramfs"), g.memory),
		"-accel", g.accel, "-smp", fmt.Sprint(g.cpus),
		"-chardev", console, "-serial", "chardev:console",
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=harness,name=harness",
		"-device", "virtio-rng-pci",
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
		"-fsdev", "local,id=share,path="+g.share+",security_model=none,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
		// Both may lie where the machine has a file system of its own, as /tmp.
		"-fsdev", "local,id=kernel,path="+g.kernel.Dir()+",security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=kernel,mount_tag=kernel",
		"-fsdev", "local,id=repository,path="+g.repository+",security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=repository,mount_tag=repository",
	)
	o = append(o, cardOptions()...)
	if g.icount {
		o = append(o, "-icount", "shift=0")
	}
	if g.console == nil {
		o = append(o, "-mon", "chardev=console") // Ctrl-A x ends the machine
	}
	return o
}
