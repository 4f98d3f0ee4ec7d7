// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Kernel is an unpacked kernel package in the cache.
type Kernel struct {
	// Release is what uname -r says: "6.1.0-56-amd64".
	Release string
	dir     string // where the package is unpacked
}

// Image returns the path of the kernel itself.
func (k *Kernel) Image() string { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.Release) }

// Dir returns the folder where the package is unpacked.
func (k *Kernel) Dir() string { return k.dir }

// Modules returns the folder of its modules, as it is below /lib/modules.
func (k *Kernel) Modules() string { return filepath.Join(k.dir, "lib", "modules", k.Release) }

// seal is written beside an unpacked package when all is there.
type seal struct {
	Package string `json:"package"` // SHA-256 of the .deb
	Content string `json:"content"` // SHA-256 of what it was unpacked to
}

// Get returns the newest kernel of a series, from the cache when it is there
// and whole. Where the newest can't be had, an older one from the cache does. A
// machine of test/kernels has its own kernel alone (OVS_XDP_KERNEL), and gets
// that.
func Get(ctx context.Context, series string, log io.Writer) (*Kernel, error) {
	if dir := os.Getenv("OVS_XDP_KERNEL"); dir != "" {
		return unpacked(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for kernels: %w", err)
	}
	base = filepath.Join(base, "ovs-xdp", "kernels")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("make a place for kernels: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(base, "lock"), log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	k, err := fetch(ctx, base, series, log)
	if err == nil || ctx.Err() != nil {
		return k, err
	}
	// The package lists may be missing, or older than what can be fetched.
	fmt.Fprintf(log, "%v\nupdating the package lists\n", err)
	_, updateErr := output(ctx, "apt-get", "update", "--quiet")
	if k, again := fetch(ctx, base, series, log); again == nil {
		return k, nil
	}
	if k := cached(base, series); k != nil {
		fmt.Fprintf(log, "using Linux %s from the cache\n", k.Release)
		return k, nil
	}
	return nil, errors.Join(err, updateErr)
}

// unpacked returns the kernel of a package that is unpacked in a folder.
func unpacked(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err == nil && len(images) != 1 {
		err = fmt.Errorf("it has %d", len(images))
	}
	if err != nil {
		return nil, fmt.Errorf("find the kernel in %s: %w", dir, err)
	}
	_, release, _ := strings.Cut(filepath.Base(images[0]), "-")
	return &Kernel{release, dir}, nil
}

// fetch returns the newest kernel that apt knows.
func fetch(ctx context.Context, base, series string, log io.Writer) (*Kernel, error) {
	d, err := newest(ctx, series)
	if err != nil {
		return nil, err
	}
	k := &Kernel{d.release(), filepath.Join(base, d.release())}
	if s, err := k.whole(); err == nil && s.Package == d.sha256 {
		return k, nil
	}
	fmt.Fprintf(log, "fetching %s\n", d.name)
	dir, err := os.MkdirTemp(base, "unpack-")
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", d.name, err)
	}
	defer os.RemoveAll(dir)
	if err := d.unpack(ctx, dir); err != nil {
		return nil, err
	}
	// The seal goes first and comes last.
	err = errors.Join(os.Chmod(dir, 0o755), os.RemoveAll(k.sealFile()), os.RemoveAll(k.dir))
	if err == nil {
		err = os.Rename(dir, k.dir)
	}
	if err == nil {
		err = k.close(d.sha256)
	}
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", d.name, err)
	}
	return k, nil
}

// cached returns the newest kernel of a series that is whole in the cache, nil
// when there is none.
func cached(base, series string) *Kernel {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, "linux-image-"+e.Name())
	}
	for _, name := range candidates(names, series) {
		release := debian{name: name}.release()
		k := &Kernel{release, filepath.Join(base, release)}
		if _, err := k.whole(); err == nil {
			return k
		}
	}
	return nil
}

func (k *Kernel) sealFile() string { return k.dir + ".json" }

// close seals what was unpacked from a package with this SHA-256.
func (k *Kernel) close(sum string) error {
	content, err := treeSum(k.dir)
	if err != nil {
		return err
	}
	b, err := json.Marshal(seal{Package: sum, Content: content})
	if err != nil {
		return err
	}
	return os.WriteFile(k.sealFile(), b, 0o644)
}

// whole reads the seal and checks that everything is there as it was unpacked.
func (k *Kernel) whole() (seal, error) {
	var s seal
	b, err := os.ReadFile(k.sealFile())
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	sum, err := treeSum(k.dir)
	if err == nil && sum != s.Content {
		err = fmt.Errorf("check %s: it has changed", k.dir)
	}
	return s, err
}

// treeSum returns the SHA-256 of all files below a folder and their names, in
// hex.
func treeSum(dir string) (string, error) {
	all := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		sum, err := fileSum(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		fmt.Fprintf(all, "%x %s\n", sum, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("check %s: %w", dir, err)
	}
	return fmt.Sprintf("%x", all.Sum(nil)), nil
}

// fileSum returns the SHA-256 of a file.
func fileSum(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// lock waits until no other process holds the lock file.
func lock(ctx context.Context, path string, log io.Writer) (unlock func(), err error) {
	fail := func(err error) (func(), error) { return nil, fmt.Errorf("lock the cache: %w", err) }
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fail(err)
	}
	for try := 0; ; try++ {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK {
			f.Close()
			return fail(err)
		}
		if try == 20 {
			fmt.Fprintln(log, "waiting for another process that fetches kernels")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return fail(context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
