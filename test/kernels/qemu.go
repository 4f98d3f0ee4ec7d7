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
)

const qemu = "qemu-system-x86_64"

// guestScript is what init.sh goes on with.
//
//go:embed guest.sh
var guestScript []byte

// A machine says how virtual machines are made.
type machine struct {
	repository   string // the folder of go.mod
	cpus, memory int    // MiB
	accel        string // of QEMU
}

// A guest is one run of a virtual machine.
type guest struct {
	machine
	kernel *kernel
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
	first, err := initramfs(g.kernel)
	if err != nil {
		return err
	}
	settings := fmt.Sprintf("REPOSITORY=%s\nNICS=%s\n", quote(g.repository), quote(describeCards()))
	bin := filepath.Join(g.share, "bin")
	return errors.Join(
		os.WriteFile(filepath.Join(g.share, "initramfs"), first, 0o644),
		os.WriteFile(filepath.Join(g.share, "guest.sh"), guestScript, 0o644),
		os.WriteFile(filepath.Join(g.share, "settings.sh"), []byte(settings), 0o644),
		os.Mkdir(bin, 0o755),
		os.CopyFS(bin, os.DirFS(filepath.Join(g.repository, "bin"))))
}

// quote quotes a word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// boot runs the guest until it ends. When the context ends first, or this
// process does, QEMU is killed.
func (g *guest) boot(ctx context.Context) error {
	fail := func(err error) error { return fmt.Errorf("run a machine with Linux %s: %w", g.kernel.release, err) }
	if err := g.files(); err != nil {
		return fail(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	defer w.Close()
	c := exec.CommandContext(ctx, qemu, g.options()...)
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
	o := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35", "-cpu", cpuModel, "-accel", g.accel,
		"-smp", fmt.Sprint(g.cpus), "-m", fmt.Sprint(g.memory),
		"-kernel", g.kernel.image(), "-initrd", filepath.Join(g.share, "initramfs"), "-append", commandLine,
		"-chardev", console, "-serial", "chardev:console",
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=harness,name=harness",
		"-device", "virtio-rng-pci",
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
		"-fsdev", "local,id=share,path=" + g.share + ",security_model=none,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
		// Both may lie where the machine has a file system of its own, as /tmp.
		"-fsdev", "local,id=modules,path=" + g.kernel.modules() + ",security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=modules,mount_tag=modules",
		"-fsdev", "local,id=repository,path=" + g.repository + ",security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=repository,mount_tag=repository",
	}
	o = append(o, cardOptions()...)
	if g.console == nil {
		o = append(o, "-mon", "chardev=console") // Ctrl-A x ends the machine
	}
	return o
}

// cpuModel leaves out what is slower emulated than done without: string
// instructions byte by byte, a fifth level of page tables, more to save and
// flush at each switch.
const cpuModel = "max,-erms,-fsrm,-la57,-smap,-smep,-pcid,-avx,-avx2,-xsave"

// commandLine is the kernel's. An oops ends the machine, and so does a panic;
// under emulation the watchdogs bark without need. Without random addresses
// the emulator finds code again that it has translated for an earlier process:
// half the time of starting one.
const commandLine = "console=ttyS0 loglevel=5 panic=-1 oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1 " +
	"tsc=reliable norandmaps mitigations=off init_on_alloc=0 net.ifnames=0 apparmor=0"
