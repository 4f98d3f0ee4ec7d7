/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows of OVS: what it does with frames from one port, with one tag, one type
 * and two addresses. A table of the kind of the FDB, under the same protocol
 * (fdb.h), so that a reader never takes another key's flow. The second word of a
 * key is written last and cleared first, and is not 0 of any frame: half a key
 * matches none.
 */
#ifndef OVS_XDP_FLOWS_H
#define OVS_XDP_FLOWS_H

#include "fdb.h"
#include "frame.h"
#include "key.h"
#include "maps.h"

union flow_word {
	struct flow flow;
	__u64 word;
};

/* frame_in_pieces tells fragments of IP, frames whose header is cut off, and what
 * may be a fragment behind IPv6 extension headers that datapaths walk. */
static __always_inline bool frame_in_pieces(struct xdp_md *ctx, const struct frame *f)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + frame_l3(f);

	if (f->type == ETH_P_IP) {
		struct iphdr *ip = l3;

		return (void *)(ip + 1) > end || (ip->frag_off & bpf_htons(FRAG_MASK));
	} else {
		struct ipv6hdr *ip6 = l3;

		return (void *)(ip6 + 1) > end || is_extension(ip6->nexthdr);
	}
}

/* flow_hash mixes a key as fdb_hash does. A destination's first octets would reach
 * the high bits only by the one multiplication that is left. */
static __always_inline __u64 flow_hash(__u64 from, __u64 to)
{
	__u64 x = (from ^ fdb_seed) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 32) ^ to ^ (to >> 32)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 32);
}

static __always_inline __u32 flow_second(__u64 hash)
{
	return (hash * 0xbf58476d1ce4e5b9ULL) >> 32;
}

static __always_inline __u64 *flow_in(__u32 number, __u64 from, __u64 to)
{
	struct flow_bucket *b = ENTRY(flows, number & flow_mask);

#pragma unroll
	for (int i = 0; i < BUCKET_ROWS; i++)
		if (*(volatile __u64 *)&b->from[i] == from && *(volatile __u64 *)&b->to[i] == to)
			return &b->flow[i];
	return NULL;
}

/* flow_from gives the first word of a frame's key, flow_to the second, slot being
 * that of its port (or bond). */
static __always_inline __u64 flow_from(const struct frame *f)
{
	__u64 from = f->src;

	if (f->tagged)
		from |= f->tci; /* its DEI bit is 0 */
	if (f->type == ETH_P_IPV6)
		from |= FLOW_IP6;
	return from;
}

static __always_inline __u64 flow_to(const struct frame *f, __u32 slot)
{
	return f->dst | FLOW_KEY | slot;
}

/* flow_place and flow_find are as those of the FDB. */
static __always_inline __u64 *flow_place(__u64 from, __u64 to, union flow_word *out)
{
	__u64 hash = flow_hash(from, to), *place;

	place = flow_in(hash, from, to);
	if (place) {
		out->word = *(volatile __u64 *)place;
		if (out->flow.flags & FLOW_VALID)
			return place;
	}
	place = flow_in(flow_second(hash), from, to);
	if (place) {
		out->word = *(volatile __u64 *)place;
		if (out->flow.flags & FLOW_VALID)
			return place;
	}
	return NULL;
}

static __always_inline bool flow_find(__u64 from, __u64 to, union flow_word *out)
{
	return flow_place(from, to, out);
}

/* flow_stamp takes the keep-alive of a flow, as fdb_stamp. */
__attribute__((noinline)) int flow_stamp(__u64 from, __u64 to, __u64 was, __u32 stamp)
{
	union flow_word now = {};
	__u64 *place = flow_place(from, to, &now);

	if (!place || now.word != was)
		return 0;
	now.flow.stamp = stamp;
	return __sync_val_compare_and_swap(place, was, now.word) == was;
}

#endif
