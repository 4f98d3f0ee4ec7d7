/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Choosing the member of a bond that a frame leaves by. */
#ifndef OVS_XDP_BOND_H
#define OVS_XDP_BOND_H

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "checksum.h"
#include "frame.h"

static __always_inline __u64 hash_mix(__u64 h, __u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

/* l4_ports gives both ports of TCP and UDP, 0 of anything else. */
static __always_inline __u32 l4_ports(void *l4, void *end, __u8 proto)
{
	if ((proto != PROTO_TCP && proto != PROTO_UDP) || l4 + sizeof(__u32) > end)
		return 0;
	return *(__u32 *)l4;
}

/*
 * bond_bucket hashes what names a flow: addresses of L2 and L3, protocol, and
 * the ports of TCP and UDP. A fragment does not have them, so no fragment is
 * hashed by them: the frames of a flow, and the fragments of a datagram, keep
 * to one member and in order.
 */
static __always_inline __u32 bond_bucket(struct xdp_md *ctx, const struct frame *f)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + frame_l3(f);
	__u64 h = hash_mix(f->dst, f->src);

	if (f->type == ETH_P_IP) {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end)
			return h % BOND_LEGS;
		h = hash_mix(h, (__u64)ip->saddr << 32 | ip->daddr);
		h = hash_mix(h, ip->protocol);
		if (!(ip->frag_off & bpf_htons(FRAG_MASK)))
			h = hash_mix(h, l4_ports(l3 + ip->ihl * 4, end, ip->protocol));
	} else {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > end)
			return h % BOND_LEGS;
#pragma unroll
		for (int i = 0; i < 4; i++)
			h = hash_mix(h, (__u64)ip6->saddr.in6_u.u6_addr32[i] << 32 |
						ip6->daddr.in6_u.u6_addr32[i]);
		h = hash_mix(h, ip6->nexthdr);
		h = hash_mix(h, l4_ports(ip6 + 1, end, ip6->nexthdr));
	}
	return h % BOND_LEGS;
}

#endif
