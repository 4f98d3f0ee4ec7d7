// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Pidfile is a pidfile that this process holds: it has the process's pid and a
// newline in it and an fcntl write lock on it, without which ovs-appctl takes
// it for stale. The lock lasts as long as the process, or until Remove.
type Pidfile struct {
	path string
	id   fileID
	// temporary is where a pidfile is that is not published yet; "" for one
	// that was.
	temporary string
}

// RunningError tells that another process holds the pidfile.
type RunningError struct {
	// Path is the pidfile.
	Path string
	// PID is the process that holds it; 0 when it is still starting and has
	// not written its pid yet.
	PID int
}

func (e *RunningError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s: another process is starting", e.Path)
	}
	return fmt.Sprintf("%s: already running as pid %d", e.Path, e.PID)
}

type fileID struct{ dev, ino uint64 }

func idOf(info fs.FileInfo) fileID {
	st, _ := info.Sys().(*syscall.Stat_t)
	if st == nil {
		return fileID{}
	}
	return fileID{st.Dev, st.Ino}
}

// held remembers the pidfiles of this process and keeps them open. They must
// never be opened a second time: closing any descriptor of a file drops the
// process's locks.
var held = struct {
	sync.Mutex
	files map[fileID]*os.File
}{files: map[fileID]*os.File{}}

func isHeld(id fileID) bool {
	held.Lock()
	defer held.Unlock()
	return held.files[id] != nil
}

// creating lets one goroutine at a time make a pidfile: locks do not keep two
// of the same process apart.
var creating sync.Mutex

// CreatePidfile makes the pidfile of this process in the way of OVS's
// daemons: it locks and writes <path>.tmp and renames it to path, so that path
// is never seen without its lock. A pidfile that nobody holds is replaced; one
// that a process holds gives a *RunningError.
func CreatePidfile(path string) (*Pidfile, error) {
	creating.Lock()
	defer creating.Unlock()
	p, err := reservePidfile(path)
	if err != nil {
		return nil, fmt.Errorf("create pidfile: %w", err)
	}
	// From here on nobody else gets as far as replacing path.
	pid, locked, err := readPidfile(path)
	switch {
	case locked:
		err = &RunningError{Path: path, PID: pid}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errBadPidfile):
		err = nil
	}
	if err == nil {
		err = p.publish()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create pidfile: %w", err), p.Remove())
	}
	return p, nil
}

// ReservePidfile makes the pidfile of a process that will take the place of the
// one that holds path: it stays <path>.tmp until Publish, and as long as it is
// there nobody else can make one. A second such process gets a *RunningError.
func ReservePidfile(path string) (*Pidfile, error) {
	creating.Lock()
	defer creating.Unlock()
	p, err := reservePidfile(path)
	if err != nil {
		return nil, fmt.Errorf("reserve pidfile: %w", err)
	}
	return p, nil
}

func reservePidfile(path string) (*Pidfile, error) {
	temporary := path + ".tmp"
	file, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() {
		if !keep {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if isHeld(idOf(info)) {
		keep = true // closing it would drop our own lock
		return nil, &RunningError{Path: path, PID: os.Getpid()}
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &lock); err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			return nil, &RunningError{Path: path}
		}
		return nil, fmt.Errorf("lock %s: %w", temporary, err)
	}
	// Who held it until a moment ago may have renamed it since it was opened.
	if now, err := os.Stat(temporary); err != nil || idOf(now) != idOf(info) {
		return nil, &RunningError{Path: path}
	}
	if err := writePid(file); err != nil {
		os.Remove(temporary)
		return nil, fmt.Errorf("write %s: %w", temporary, err)
	}
	keep = true
	p := &Pidfile{path: path, id: idOf(info), temporary: temporary}
	held.Lock()
	defer held.Unlock()
	held.files[p.id] = file
	return p, nil
}

// Publish puts a reserved pidfile in its place, whoever's was there. There is no
// moment without one.
func (p *Pidfile) Publish() error {
	if err := p.publish(); err != nil {
		return fmt.Errorf("publish pidfile: %w", err)
	}
	return nil
}

func (p *Pidfile) publish() error {
	if err := os.Rename(p.temporary, p.path); err != nil {
		return err
	}
	p.temporary = ""
	return nil
}

// Current tells whether the pidfile is in its place: not when another process
// has published its own there.
func (p *Pidfile) Current() bool {
	info, err := os.Stat(p.path)
	return err == nil && idOf(info) == p.id
}

func writePid(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Remove deletes the pidfile, published or not, unless another file has taken
// its place, and gives up the lock. Only the first call does anything.
func (p *Pidfile) Remove() error {
	held.Lock()
	defer held.Unlock()
	file := held.files[p.id]
	if file == nil {
		return nil
	}
	delete(held.files, p.id)
	defer file.Close()
	path := p.path
	if p.temporary != "" {
		path = p.temporary
	}
	if info, err := os.Stat(path); err != nil || idOf(info) != p.id {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove pidfile: %w", err)
	}
	return nil
}

var errBadPidfile = errors.New("no process id in it")

// readPidfile returns the pid that a pidfile holds, and whether a process
// holds a lock on it.
func readPidfile(path string) (pid int, locked bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false, err
	}
	if isHeld(idOf(info)) {
		return os.Getpid(), true, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock); err != nil {
		return 0, false, fmt.Errorf("query lock of %s: %w", path, err)
	}
	locked = lock.Type != syscall.F_UNLCK
	text, err := io.ReadAll(io.LimitReader(file, 128))
	if err != nil {
		return 0, locked, fmt.Errorf("read %s: %w", path, err)
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, locked, fmt.Errorf("read pidfile %s: %w: %q", path, errBadPidfile, text)
	}
	return pid, locked, nil
}
