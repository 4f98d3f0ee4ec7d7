/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames that are lost after they have been redirected: a redirect is carried
 * out when the program has ended, and nobody gets the frame back. The kernel
 * tells in two tracepoints (include/trace/events/xdp.h), which are those of all
 * XDP programs on the host.
 */
#ifndef OVS_XDP_LOSSES_H
#define OVS_XDP_LOSSES_H

#include "maps.h"

/* The kernel's, as far as they are read here: relocated when loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};
#pragma clang attribute pop

/*
 * overdrawn tells whether a full queue has lost more than it may. What other
 * CPUs have sent to the device is settled when they lose frames.
 */
static __always_inline bool overdrawn(struct port *p, struct port_counters *c, __u64 frames)
{
	__u64 debt = *(volatile __u32 *)&p->debt, most = LOSS_BURST * LOSS_SHARE;
	__s64 taken = c->sent - c->lost; /* or under way */

	if (taken > (__s64)c->settled) {
		__u64 made_up = taken - c->settled;

		debt = debt > made_up ? debt - made_up : 0;
		c->settled = taken;
	}
	debt += frames * LOSS_SHARE;
	*(volatile __u32 *)&p->debt = debt < most ? debt : most;
	return debt >= most;
}

/*
 * port_loses counts frames that a port has lost, for its queue was full or it
 * takes none. It keeps further ones off it from the next frame on, unless these
 * are no more than a queue loses that is read. The daemon is told once.
 */
static __always_inline void port_loses(struct port *p, __u32 slot, __u64 frames, bool full)
{
	struct port_counters *c = bpf_map_lookup_elem(&counters, &slot);
	struct event *e;

	if (!c)
		return;
	c->lost += frames;
	if (full && !overdrawn(p, c, frames))
		return;
	if (*(volatile __u32 *)&p->loses || __sync_lock_test_and_set(&p->loses, 1))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return; /* the daemon looks at the marks now and then */
	e->key = 0;
	e->slot = slot;
	e->kind = EVENT_LOSES;
	bpf_ringbuf_submit(e, 0);
}

#endif
