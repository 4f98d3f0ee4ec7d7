// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch sends on the channel it returns, coalesced, whenever a device or what
// it can do may have changed, until ctx ends.
func (h *Host) Watch(ctx context.Context, log *slog.Logger) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	signal := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("watch network devices: %w", err)
	}
	listen(ctx, log, s, signal)
	h.mu.Lock()
	h.watchOthers = sync.OnceFunc(func() { h.watchNamespaces(ctx, log, signal) })
	if !h.kernel.tags || !h.kernel.features {
		h.watchOthers()
	}
	h.mu.Unlock()
	if err := h.watchFeatures(ctx, log, signal); err != nil {
		return nil, err
	}
	return changed, nil
}

// watchNamespaces tells of the devices in other network namespaces, where the
// other ends of veths are. Without the right to, those are not asked, since what
// they said may no longer hold.
func (h *Host) watchNamespaces(ctx context.Context, log *slog.Logger, signal func()) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err == nil {
		if err = unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
			s.Close()
		}
	}
	if err != nil {
		h.deaf = true
		log.Warn("veths with the other end in another network namespace stay with OVS: devices there can't be watched "+
			"(CAP_NET_BROADCAST), nor asked (CAP_SYS_ADMIN)", "error", err)
		return
	}
	listen(ctx, log, s, signal)
}

// watchFeatures tells when a device's XDP features change, as those of a veth
// do with its peer's GRO.
func (h *Host) watchFeatures(ctx context.Context, log *slog.Logger, signal func()) error {
	if !h.kernel.features {
		return nil
	}
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return fmt.Errorf("look up netlink family %s: %w", netdevFamily, err)
	}
	for _, g := range family.Groups {
		if g.Name != netdevGroup {
			continue
		}
		s, err := nl.Subscribe(unix.NETLINK_GENERIC, uint(g.ID))
		if err != nil {
			return fmt.Errorf("watch XDP features of network devices: %w", err)
		}
		listen(ctx, log, s, signal)
	}
	return nil
}

// listen calls signal for what comes in at a socket until ctx ends. An overrun
// lost events, so that everything is to be looked at; more will come.
func listen(ctx context.Context, log *slog.Logger, s *nl.NetlinkSocket, signal func()) {
	stop := context.AfterFunc(ctx, s.Close)
	go func() {
		defer stop()
		for ctx.Err() == nil {
			_, _, err := s.Receive()
			signal()
			if err == nil || ctx.Err() != nil {
				continue
			}
			log.Warn("network device events were lost", "error", err)
			if !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
	}()
}
