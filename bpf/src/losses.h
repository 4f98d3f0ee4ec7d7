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
 * port_loses counts frames that a port has lost, and keeps further ones off it
 * from the next frame on. The daemon is told once.
 */
static __always_inline void port_loses(struct port *p, __u32 slot, __u64 frames)
{
	struct port_counters *c = bpf_map_lookup_elem(&counters, &slot);
	struct event *e;

	if (c)
		c->lost += frames;
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
