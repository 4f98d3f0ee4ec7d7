// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A debian is a kernel package of Debian's, as apt-cache(8) shows it.
type debian struct {
	name    string // "linux-image-6.1.0-56-amd64"
	version string // of the package: "6.1.187-1"
	sha256  string // of the file, in hex
}

// release is what uname -r says on that kernel: "6.1.0-56-amd64".
func (d debian) release() string { return strings.TrimPrefix(d.name, "linux-image-") }

// newest returns the newest package of a series of kernels ("6.12") that apt
// knows.
func newest(ctx context.Context, series string) (debian, error) {
	fail := func(err error) (debian, error) {
		return debian{}, fmt.Errorf("find a package of Linux %s: %w", series, err)
	}
	names, err := output(ctx, "apt-cache", "pkgnames", "linux-image-"+series+".")
	if err != nil {
		return fail(err)
	}
	// apt also names packages that it can't fetch.
	for _, name := range candidates(strings.Fields(names), series) {
		record, err := output(ctx, "apt-cache", "show", "--no-all-versions", name)
		if err != nil {
			continue
		}
		d := debian{name, field(record, "Version"), field(record, "SHA256")}
		if d.version != "" && len(d.sha256) == 2*sha256.Size {
			return d, nil
		}
	}
	return fail(fmt.Errorf("apt-cache knows none"))
}

// candidates returns the kernel packages of a series, newest first: no other
// flavour than the plain one (the cloud flavour has no 9p), no debug symbols,
// no unsigned ones.
func candidates(names []string, series string) []string {
	plain := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(series) + `[.-][0-9.-]+(\+deb[0-9]+|~bpo[0-9]+)?-amd64$`)
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !plain.MatchString(n) })
	slices.SortFunc(names, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	return names
}

var digits = regexp.MustCompile(`[0-9]+`)

// numbers returns all numbers in a name, in their order.
func numbers(name string) []int {
	var all []int
	for _, d := range digits.FindAllString(name, -1) {
		n, err := strconv.Atoi(d)
		if err != nil {
			n = 0 // too long for a version
		}
		all = append(all, n)
	}
	return all
}

// field returns a field of a record of apt-cache show.
func field(record, name string) string {
	for line := range strings.Lines(record) {
		if value, found := strings.CutPrefix(line, name+": "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// unpack downloads the package and unpacks it into the folder dir, with the
// module dependencies that depmod(8) finds. Nothing is installed.
func (d debian) unpack(ctx context.Context, dir string) error {
	fail := func(err error) error { return fmt.Errorf("fetch %s %s: %w", d.name, d.version, err) }
	download, err := os.MkdirTemp(filepath.Dir(dir), "download-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(download)
	get := exec.CommandContext(ctx, "apt-get", "download", "--quiet=2", "-o", "APT::Sandbox::User=root", d.name+"="+d.version)
	get.Dir, get.WaitDelay = download, time.Second
	if out, err := get.CombinedOutput(); err != nil {
		return fail(fmt.Errorf("apt-get download: %w\n%s", err, out))
	}
	files, err := filepath.Glob(filepath.Join(download, "*.deb"))
	if err != nil || len(files) != 1 {
		return fail(fmt.Errorf("apt-get download left %d packages", len(files)))
	}
	sum, err := fileSum(files[0])
	if err != nil {
		return fail(err)
	}
	if got := hex.EncodeToString(sum); got != d.sha256 {
		return fail(fmt.Errorf("its SHA-256 is %s, apt-cache says %s", got, d.sha256))
	}
	if _, err := output(ctx, "dpkg-deb", "-x", files[0], dir); err != nil {
		return fail(err)
	}
	if _, err := output(ctx, "depmod", "-b", dir, d.release()); err != nil {
		return fail(err)
	}
	return nil
}

// output runs a program and returns what it prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	var errs bytes.Buffer
	c.Stderr, c.WaitDelay = &errs, time.Second
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, errs.Bytes())
	}
	return string(out), nil
}
