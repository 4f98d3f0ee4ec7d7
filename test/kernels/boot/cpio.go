// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"io"
)

// archive writes a cpio archive in the format "newc" (the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst). Folders come
// before what is in them.
type archive struct {
	w     io.Writer
	inode uint32
	err   error // the first one
}

// Types of files in a mode (stat(2)).
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

func (a *archive) dir(name string) { a.entry(name, modeDir|0o755, nil) }

func (a *archive) file(name string, perm uint32, content []byte) {
	a.entry(name, modeFile|perm, content)
}

func (a *archive) entry(name string, mode uint32, content []byte) {
	a.inode++
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name))
	a.write(content)
}

// write writes data and pads it to a multiple of four.
func (a *archive) write(data []byte) {
	for _, b := range [][]byte{data, make([]byte, -len(data)&3)} {
		if a.err == nil {
			_, a.err = a.w.Write(b)
		}
	}
}

// close ends the archive and returns the first error of all.
func (a *archive) close() error {
	a.inode = ^uint32(0) // the trailer has the inode 0
	a.entry("TRAILER!!!", 0, nil)
	if a.err != nil {
		return fmt.Errorf("write cpio archive: %w", a.err)
	}
	return nil
}
