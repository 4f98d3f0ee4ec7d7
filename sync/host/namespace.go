// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// eachNamespace calls visit with every network namespace that has a name or a
// process, each once, until visit returns false. fd is open during the call
// alone: what holds a namespace open keeps a dead container's alive. reach is
// what a command begins with that runs there: "ip netns exec vm1".
func eachNamespace(visit func(fd int, reach string) bool) {
	seen := make(map[[2]uint64]bool)
	try := func(path, reach string) bool {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || seen[[2]uint64{st.Dev, st.Ino}] {
			return true
		}
		seen[[2]uint64{st.Dev, st.Ino}] = true
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return true
		}
		defer unix.Close(fd)
		return visit(fd, reach)
	}
	for _, dir := range []string{"/run/netns", "/var/run/netns"} {
		for _, name := range names(dir) {
			if !try(filepath.Join(dir, name), "ip netns exec "+name) {
				return
			}
		}
	}
	for _, name := range names("/proc") {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		if !try("/proc/"+name+"/ns/net", "nsenter -t "+name+" -n") {
			return
		}
	}
}

// names lists a folder; one that can't be read is empty.
func names(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	list, _ := f.Readdirnames(-1)
	return list
}

// visitor is a thread that enters other network namespaces.
type visitor struct {
	home int // the daemon's own namespace
	lost bool
}

// travel runs fn on a thread of its own that may enter other network
// namespaces. A thread that does not find back is thrown away.
func travel(fn func(v *visitor)) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't be thrown away. Held here, it isn't given
			// to the next goroutine.
			done <- travel(fn)
			runtime.UnlockOSThread()
			return
		}
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open this network namespace: %w", err)
			return
		}
		v := &visitor{home: home}
		fn(v)
		_ = unix.Close(home)
		if !v.lost {
			runtime.UnlockOSThread()
		}
		done <- nil
	}()
	return <-done
}

// visit runs fn in the namespace of fd, and tells whether it did. A visitor
// that is lost goes nowhere any more.
func (v *visitor) visit(fd int, fn func()) bool {
	if v.lost || unix.Setns(fd, unix.CLONE_NEWNET) != nil {
		return false
	}
	fn()
	v.lost = unix.Setns(v.home, unix.CLONE_NEWNET) != nil
	return true
}
