// SPDX-License-Identifier: Apache-2.0

// Package boot fetches Debian's kernels and makes what QEMU needs to start a
// virtual machine with one: an initramfs and options.
//
// The contract: a kernel is fetched once, into the user's cache, checked each
// time, and never installed. What a machine does after its kernel has started,
// which devices it has and who ends it is the caller's.
package boot

import (
	"fmt"
	"strings"
)

// QEMU is the program that runs machines.
const QEMU = "qemu-system-x86_64"

// Options returns options of QEMU for a machine without devices: no network,
// no disk, no console. It has this initramfs, a file, and this much memory in
// MiB. QEMU ends where the machine would start anew.
func (k *Kernel) Options(initramfs string, memory int) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35", "-cpu", cpuModel, "-m", fmt.Sprint(memory),
		"-kernel", k.Image(), "-initrd", initramfs, "-append", commandLine,
	}
}

// cpuModel leaves out what is slower emulated than done without: string
// instructions byte by byte, a fifth level of page tables, more to save and
// flush at each switch. And cmpxchg16b: a failed one leaves an operand of the
// instruction before it as flags (QEMU 7.2), and an interrupt that comes right
// after it returns with them, which crashes the machine. Kernels do without.
const cpuModel = "max,-erms,-fsrm,-la57,-smap,-smep,-pcid,-avx,-avx2,-xsave,-cx16"

// commandLine is the kernel's. An oops ends the machine, and so does a panic;
// under emulation the watchdogs bark without need. Without random addresses
// the emulator finds code again that it has translated for an earlier process:
// half the time of starting one.
const commandLine = "console=ttyS0 loglevel=5 panic=-1 oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1 " +
	"tsc=reliable norandmaps mitigations=off init_on_alloc=0 net.ifnames=0 apparmor=0"

// Quote quotes a word for the shell of a machine.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
