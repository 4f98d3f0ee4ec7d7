// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"context"
	"net"
	"syscall"
)

type peerKey struct{}

// withPeer notes which process has connected.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *syscall.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, int(cred.Pid))
}

// PeerPID returns the process that has connected to run the command (SO_PEERCRED
// of unix(7)): its pid in this process's pid namespace, 0 when it has none there
// or the context is not that of a Command.
func PeerPID(ctx context.Context) int {
	pid, _ := ctx.Value(peerKey{}).(int)
	return pid
}
