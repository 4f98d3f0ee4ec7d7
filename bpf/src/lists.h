/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the OpenFlow rules of the bridge, and the addresses that a port may use,
 * make of a frame: lists of rules, of which the first that matches decides.
 *
 * A rule that names one destination is not in the lists of the ports, or each
 * uplink would walk through those of all virtual machines. It is in a list of
 * that destination, and both are asked: each knows its first match, and the one
 * that comes first among all rules of the bridge decides. That is exact.
 */
#ifndef OVS_XDP_LISTS_H
#define OVS_XDP_LISTS_H

#include "beside.h"
#include "key.h"
#include "maps.h"

enum { NO_RULE = 0xffffffff };

/* 01:80:c2:00:00:00 to :0f (IEEE 802.1D 7.12.6), of which OVS takes some before
 * any rule: LACP, LLDP, spanning trees. Its first 44 bits. */
static __always_inline bool is_link_local(__u64 mac)
{
	return mac >> 20 == 0x0180c200000ULL;
}

/* rule_matches tells whether a key is what the rule in a place wants. Of its own, and
 * of external linkage, as list_find. */
__attribute__((noinline)) int rule_matches(__u32 at, const struct flow_key *key)
{
	const __u64 *k = (const void *)key;
	struct list_rule *r = bpf_map_lookup_elem(&rules, &at);
	__u64 differs = 0;

	if (!r || !key)
		return false;
#pragma unroll
	for (int w = 0; w < KEY_WORDS; w++)
		differs |= (k[w] ^ r->value[w]) & r->mask[w];
	return !differs;
}

/*
 * list_find returns the place of the first rule that matches, or NO_RULE. Not
 * inline, and of external linkage, so that the verifier goes through it once.
 */
__attribute__((noinline)) __u32 list_find(__u32 first, __u32 count, const struct flow_key *key)
{
	const __u64 *k = (const void *)key;

	if (!key)
		return NO_RULE;
	for (__u32 i = 0; i < LIST_MAX; i++) {
		__u32 at = first + i;
		struct list_rule *r;

		if (i >= count)
			break;
		r = bpf_map_lookup_elem(&rules, &at);
		if (!r)
			break;
		/* Most rules differ in these: protocol and ports, addresses. */
		if (((k[KEY_L4] ^ r->value[KEY_L4]) & r->mask[KEY_L4]) |
		    ((k[KEY_IP_DST] ^ r->value[KEY_IP_DST]) & r->mask[KEY_IP_DST]))
			continue;
		if (rule_matches(at, key))
			return at;
	}
	return NO_RULE;
}

static __always_inline struct list list_at(const __u64 *word)
{
	union {
		__u64 word;
		struct list list;
	} l = { .word = *(const volatile __u64 *)word };

	return l.list;
}

/* address_verdict tells whether a port may use the source addresses of a frame;
 * what is not found in the list passes. */
static __always_inline enum verdict address_verdict(struct xdp_md *ctx, const struct port *p,
						    const struct frame *f, const struct flow_key *key)
{
	struct list l = list_at(&p->addresses_word);
	enum verdict v = VERDICT_PASS;
	struct flow_key claim;
	struct list_rule *r;
	__u32 at;

	at = list_find(l.first, l.count, key);
	r = bpf_map_lookup_elem(&rules, &at);
	if (r)
		v = r->verdict;
	if (v != VERDICT_NORMAL)
		return v;
	claim = *key;
	if (!key_of_claim(ctx, f, &claim))
		return v;
	at = list_find(l.first, l.count, &claim);
	r = bpf_map_lookup_elem(&rules, &at);
	return r ? r->verdict : VERDICT_PASS;
}

/* rule_verdict gives the verdict of the rules, and the place of the one that
 * decides + 1 in *hit. */
static __always_inline enum verdict rule_verdict(const struct port *p, const struct frame *f,
						 __u16 bridge, const struct flow_key *key, __u64 now,
						 __u32 *hit)
{
	struct list l = list_at(&p->rules_word);
	struct list_rule *best = NULL, *r;
	__u32 at, stamp;

	at = list_find(l.first, l.count, key);
	r = bpf_map_lookup_elem(&rules, &at);
	if (r) {
		best = r;
		*hit = at + 1;
	}
	if (l.flags & LIST_SCOPED) {
		__u64 destination = f->dst | bridge, *word;

		word = bpf_map_lookup_elem(&destinations, &destination);
		if (word) {
			l = list_at(word);
			at = list_find(l.first, l.count, key);
			r = bpf_map_lookup_elem(&rules, &at);
			if (r && (!best || r->order < best->order)) {
				best = r;
				*hit = at + 1;
			}
		}
	}
	if (!best)
		return VERDICT_PASS; /* which table-miss rule there is, OVS knows */
	if (!best->idle || best->verdict == VERDICT_PASS)
		return best->verdict;
	stamp = now >> STAMP_SHIFT;
	at = *(volatile __u32 *)&best->stamp;
	if (stamp - at >= best->idle && __sync_val_compare_and_swap(&best->stamp, at, stamp) == at)
		return VERDICT_PASS;
	return best->verdict;
}

/* What lists_decide answers: enum reason, and above it the place of the rule that
 * decides + 1. */
enum { RULING_HIT = 8, RULING_REASON = (1 << RULING_HIT) - 1 };

/*
 * lists_decide tells what the lists of the port in a slot make of a frame of len
 * bytes: a reason to drop it, a reason for OVS to have it once its source has been
 * looked at, or REASON_LANE. domain is of the port's rule as it was read: it may have
 * been closed since. A function of its own for the verifier, as list_find.
 */
__attribute__((noinline)) __u32 lists_decide(struct xdp_md *ctx, __u32 slot, __u32 domain, __u32 len,
					     __u32 tagged_beside)
{
	struct frame f = { .len = len };
	enum verdict v = VERDICT_NORMAL;
	struct port *p = port_at(slot);
	struct flow_key key = {};
	struct list l;
	__u32 hit = 0;
	int read;

	if (!frame_read(ctx, &f))
		return REASON_RUNT;
	if (tagged_beside)
		tag_beside(&f);
	if (is_link_local(f.dst))
		return REASON_RULE;
	read = key_of_frame(ctx, &f, &key);
	if (read == KEY_NONE)
		key.type = 0; /* none that a frame has: addresses can't be told */
	if (list_at(&p->addresses_word).count)
		v = address_verdict(ctx, p, &f, &key);
	if (v == VERDICT_DROP)
		return REASON_DROPPED_ADDRESS;
	if (v != VERDICT_NORMAL)
		return REASON_FOREIGN_ADDRESS;
	l = list_at(&p->rules_word);
	if (!l.count && !(l.flags & LIST_SCOPED))
		return REASON_LANE;
	if (read != KEY_WHOLE || f.odd_tag)
		return REASON_RULE;
	v = rule_verdict(p, &f, domain & DOMAIN_BRIDGE, &key, bpf_jiffies64(), &hit);
	return hit << RULING_HIT |
	       (v == VERDICT_DROP ? REASON_DROPPED : v == VERDICT_NORMAL ? REASON_LANE : REASON_RULE);
}

/* rule_counts_add counts a frame for the rule that has decided it. */
static __always_inline void rule_counts_add(__u32 hit, __u32 len)
{
	struct rule_count *c;
	__u32 at;

	if (likely(!hit))
		return;
	at = bpf_get_smp_processor_id() * rule_rows + hit - 1;
	c = bpf_map_lookup_elem(&rule_counts, &at);
	if (!c)
		return;
	c->frames++;
	c->bytes += len;
}

/*
 * policed tells whether a frame of len bytes is over the port's rate. One that
 * goes to OVS (spare) is charged for all the same, and OVS's own policer decides:
 * both together let through no more than the rate.
 */
static __always_inline bool policed(struct port *p, __u32 len, bool spare)
{
	__u64 now = bpf_ktime_get_ns();

#pragma unroll
	for (int i = 0; i < RATES; i++) {
		__u64 cost = p->police[i].cost, was, full;

		if (!cost)
			continue;
		if (i == RATE_BYTES)
			cost *= len;
		cost >>= COST_SHIFT;
#pragma unroll
		for (int try = 0; try < 4; try++) {
			was = *(volatile __u64 *)&p->full[i];
			full = (was > now ? was : now) + cost;
			if (!spare && full - now > p->police[i].burst)
				return true;
			if (spare && full - now > 2 * p->police[i].burst)
				break; /* OVS drops it: that takes nothing from its bucket */
			if (__sync_val_compare_and_swap(&p->full[i], was, full) == was)
				break;
		}
	}
	return false;
}

#endif
