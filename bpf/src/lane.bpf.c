// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The express lane: one program for every port.
 *
 * XDP_PASS is always right: OVS sees the frame and decides. A frame is
 * redirected only when every line of lane_decide was true for it, and until
 * then it is not touched.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "layout.h"
#include "maps.h"
#include "fdb.h"
#include "flows.h"
#include "frame.h"
#include "bond.h"
#include "checksum.h"
#include "lists.h"
#include "losses.h"
#include "tag.h"
#include "beside.h"

/* Types that no map and no variable uses: kept in the BTF for the Go side. */
const volatile enum limits export_limits = LAYOUT_VERSION;
const volatile enum rule_flag export_rule_flag = RULE_WATCH;
const volatile enum row_flag export_row_flag = ROW_VALID;
const volatile enum reason export_reason = REASON_LANE;
const volatile enum event_kind export_event_kind = EVENT_NEW;
const volatile struct event export_event = {};
const volatile struct row export_row = {};
const volatile enum list_flag export_list_flag = LIST_SCOPED;
const volatile enum verdict export_verdict = VERDICT_PASS;
const volatile struct flow_key export_flow_key = {};
const volatile enum tag_action export_tag_action = TAG_KEEP;
const volatile enum flow_flag export_flow_flag = FLOW_VALID;
const volatile enum flow_bit export_flow_bit = FLOW_KEY;
const volatile struct flow export_flow = {};
const volatile enum entry export_entry = ENTRY_BARE;

/* Where a frame goes, when it takes the lane. */
struct route {
	__u32 slot;
	/* Of the tag that it leaves with: TAG_PUSH, TAG_SET. */
	__u16 tci;
	enum tag_action tag;
	/* Place of the rule that has decided + 1; 0: none. */
	__u32 hit;
	struct unfinished rest;
};

union rule_copy {
	struct port_rule rule;
	__u64 word;
};

static __always_inline struct port *port_find(__u32 ifindex)
{
	for (int i = 0; i < PORT_PROBES; i++) {
		struct port *p = port_at(ifindex + i);

		if (likely(p->ifindex == ifindex))
			return p;
	}
	return NULL;
}

static __always_inline union rule_copy port_rule(const struct port *p)
{
	return (union rule_copy){ .word = *(const volatile __u64 *)&p->rule_word };
}

static __always_inline void event_send(__u32 from, __u64 key, __u32 slot, __u32 kind)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	struct port_counters *c;

	if (!e) {
		c = bpf_map_lookup_elem(&counters, &from);
		if (c)
			c->events_lost++;
		return;
	}
	e->key = key;
	e->slot = slot;
	e->kind = kind;
	bpf_ringbuf_submit(e, 0);
}

/*
 * notify asks the daemon to look at OVS's MAC table, for a station that was seen
 * on the port of the slot from. The budget keeps a port that floods from drowning the
 * daemon and the events of other ports. A function of its own for the verifier, as
 * those of fdb.h; so is notify_no_flow.
 */
__attribute__((noinline)) int notify(__u32 from, __u64 key, __u32 slot, __u32 kind)
{
	__u64 window = (bpf_jiffies64() >> EVENT_WINDOW_SHIFT) << 16;
	struct port *p = port_at(from);
	struct port_counters *c;
	__u64 budget = p->budget;

	if ((budget & ~0xffffULL) != window)
		budget = window;
	if ((budget & 0xffff) >= EVENT_BURST) {
		c = bpf_map_lookup_elem(&counters, &from);
		if (c)
			c->events_limited++;
		return 0;
	}
	p->budget = budget + 1;
	event_send(from, key, slot, kind);
	return 0;
}

/*
 * notify_no_flow asks the daemon to look at OVS's flows. It reads all of them, so
 * one event in a window says it; and each frame that OVS alone can handle comes
 * by here, so none is charged to the budget of what moves.
 */
__attribute__((noinline)) int notify_no_flow(__u32 from, __u64 key, __u32 slot)
{
	__u64 window = bpf_jiffies64() >> EVENT_WINDOW_SHIFT;
	struct port *p = port_at(from);

	if (p->asked == window)
		return 0;
	p->asked = window;
	event_send(from, key, slot, EVENT_NO_FLOW);
	return 0;
}

/*
 * leave is a reason for a frame to leave the program. Opaque to the compiler, which
 * else loads each reason before it asks whether it is one.
 */
static __always_inline enum reason leave(enum reason r)
{
	asm volatile("" : "+r"(r));
	if (r == REASON_LANE)
		__builtin_unreachable();
	return r;
}

/* frame_vlan gives the VLAN of the bridge that the frame is in; false when OVS
 * drops it here, or when this port's VLAN is kept out of the lane. */
static __always_inline bool frame_vlan(const struct port *p, const struct port_rule *r,
				       const struct frame *f, __u32 *vlan)
{
	*vlan = f->tci & TCI_VID;
	if (!*vlan)
		*vlan = r->domain & DOMAIN_VLAN;
	else if (unlikely(r->flags & RULE_ACCESS))
		return false; /* even its own VID */
	/* By bytes, as a little-endian machine has them. */
	return ((const __u8 *)p->vlans)[*vlan / 8] >> (*vlan % 8) & 1;
}

/* egress_tagged tells whether a frame of this VLAN leaves the port tagged. */
static __always_inline bool egress_tagged(const struct port_rule *r, __u16 vlan)
{
	if (r->flags & RULE_ACCESS)
		return false;
	if ((r->flags & RULE_NATIVE_UNTAGGED) && vlan == (r->domain & DOMAIN_VLAN))
		return false;
	return vlan != 0;
}

static __always_inline bool by_flows(const struct port_rule *in)
{
	return unlikely(in->flags >= RULE_FLOWS);
}

static __always_inline enum reason lane_decide(struct xdp_md *ctx, struct port *p, __u64 now,
					       struct frame *f, struct route *route,
					       bool tagged_beside)
{
	__u32 dst_slot, len, vlan = 0, bundle;
	enum reason left = REASON_LANE;
	struct port_rule in, out;
	union row_word src, dst;
	struct port *target;
	__u64 domain;
	__u16 stamp;

	/* The lane is open, and this port is on it. */
	if (unlikely(now >= lease))
		return leave(REASON_LEASE);
	in = port_rule(p).rule;
	if (unlikely(!(in.flags & RULE_WATCH)))
		return leave(REASON_PORT_CLOSED);

	/* A frame of one VLAN of this bridge. */
	if (unlikely(!frame_read(ctx, f)))
		return leave(REASON_RUNT);
	if (tagged_beside)
		tag_beside(f);

	/* The bridge's rules do not drop it. What they drop is not learned from. */
	if (unlikely(in.flags >= RULE_SPECIAL) && (in.flags & RULE_LISTS)) {
		__u32 ruling = lists_decide(ctx, p->slot, in.domain, f->len, tagged_beside);

		left = ruling & RULING_REASON;
		route->hit = ruling >> RULING_HIT;
		if (left >= REASON_DROPPED)
			return in.flags & RULE_OBSERVE ? REASON_WOULD : left;
	}
	if (!by_flows(&in) && unlikely(!frame_vlan(p, &in, f, &vlan)))
		return leave(REASON_VLAN);
	domain = (in.domain & DOMAIN_BRIDGE) | vlan;

	/* Its source is known, and on this port. On every frame: what OVS would
	 * learn from is what announces a move. */
	if (unlikely(f->src >> 56 & 1))
		return leave(REASON_GROUP_SOURCE);
	bundle = p->bundle;
	if (unlikely(!fdb_find(f->src | domain, &src))) {
		notify(p->slot, f->src | domain, bundle, EVENT_NEW);
		return leave(REASON_NEW_SOURCE);
	}
	if (unlikely(src.row.slot != bundle) || unlikely(src.row.flags & ROW_MOVED)) {
		if (src.row.slot != bundle) {
			if ((in.flags & RULE_REFLECTS) && f->type != ETH_P_ARP)
				return leave(REASON_REFLECTED);
			if ((src.row.flags & ROW_DECLARED) && (in.flags & RULE_DECLARED))
				return leave(REASON_SPOOFED_SOURCE);
			if (!(src.row.flags & ROW_MOVED) || src.row.seen != bundle)
				notify(p->slot, f->src | domain, bundle, EVENT_MOVED);
		}
		fdb_sighted(f->src | domain, bundle);
		return leave(REASON_MOVED_SOURCE);
	}
	if (unlikely(in.flags >= RULE_SPECIAL)) {
		if (left != REASON_LANE)
			return left;
		if ((in.flags & RULE_DECLARED) && p->mac && f->src != p->mac)
			return leave(REASON_FOREIGN_ADDRESS);
	}

	/* It is plain unicast IP. */
	if (tagged_beside || unlikely(f->odd_tag))
		return leave(REASON_ODD_TAG);
	if (unlikely(f->dst >> 56 & 1))
		return leave(REASON_GROUP);
	if (f->type == ETH_P_IPV6) {
		if (unlikely(frame_is_nd(ctx, f)))
			return leave(REASON_ND);
	} else if (unlikely(f->type != ETH_P_IP)) {
		return leave(REASON_NOT_IP);
	}
	if (unlikely(!(in.flags & RULE_INGRESS)))
		return leave(REASON_PORT_CLOSED);
	if (unlikely(src.row.flags & ROW_MIRRORED))
		return leave(REASON_MIRRORED);

	/* OVS has seen its source lately. */
	stamp = now >> STAMP_SHIFT;
	if (unlikely((__u16)(stamp - src.row.stamp) >= p->keepalive) &&
	    fdb_stamp(f->src | domain, src.word, stamp))
		return leave(REASON_KEEPALIVE);

	/* Where flows decide, OVS has one for exactly this frame, and has seen it
	 * used lately. */
	if (by_flows(&in)) {
		union flow_word flow;

		if (frame_in_pieces(ctx, f))
			return leave(REASON_FRAGMENT);
		if (!flow_find(flow_from(f), flow_to(f, bundle), &flow)) {
			notify_no_flow(p->slot, f->src | domain, bundle);
			return leave(REASON_NO_FLOW);
		}
		if ((__u16)(stamp - flow.flow.stamp) >= flow.flow.keepalive &&
		    flow_stamp(flow_from(f), flow_to(f, bundle), flow.word, stamp))
			return leave(REASON_KEEPALIVE);
		route->slot = flow.flow.slot;
		route->tci = flow.flow.tci;
		route->tag = flow.flow.flags & FLOW_TAG;
	}

	/* Its destination is known, and on another port that takes it. */
	if (unlikely(!fdb_find(f->dst | domain, &dst)))
		return leave(REASON_UNKNOWN);
	if (unlikely((dst.row.flags & (ROW_TARGET | ROW_MOVED)) != ROW_TARGET))
		return leave(dst.row.flags & ROW_TARGET ? REASON_MOVED : REASON_UNKNOWN);
	dst_slot = dst.row.slot;
	if (unlikely(dst_slot == bundle))
		return leave(REASON_HAIRPIN);
	/* A station that was seen elsewhere takes all flows to it out of use. */
	if (by_flows(&in) && dst_slot != route->slot)
		return leave(REASON_STALE_FLOW);
	target = port_at(dst_slot);
	out = port_rule(target).rule;
	if (unlikely(out.flags & RULE_BOND)) {
		dst_slot = target->legs[bond_bucket(ctx, f)];
		if (dst_slot > port_mask)
			return leave(REASON_NO_DEVICE);
		target = port_at(dst_slot);
		out = port_rule(target).rule;
	}
	if (unlikely(!(out.flags & RULE_EGRESS)) || unlikely((out.domain ^ in.domain) & DOMAIN_BRIDGE))
		return leave(REASON_EGRESS_CLOSED);
	if (unlikely(*(volatile __u32 *)&target->loses))
		return leave(REASON_LOSES_FRAMES);
	if (unlikely(in.flags & out.flags & RULE_PROTECTED))
		return leave(REASON_PROTECTED);
	/* The userspace datapath does not even read what is larger than the MTU
	 * of the port that it comes from. */
	len = f->len - frame_l3(f) + ETH_HLEN;
	if (unlikely(len > out.max_frame) || unlikely(len > in.max_frame))
		return leave(REASON_TOO_LONG);
	if (unlikely(!(out.flags & RULE_SCATTERED)) && frame_scattered(ctx, f))
		return leave(REASON_SCATTERED);
	if ((in.flags & RULE_CHECKSUM) && unlikely(!checksum_finished(ctx, f, &route->rest)) &&
	    !checksum_may_finish(ctx, f, &in, &route->rest))
		return leave(REASON_CHECKSUM);

	route->slot = dst_slot;
	/* Flows lead from bridge to bridge, and each may be in observe mode. */
	if (unlikely(in.flags >= RULE_SPECIAL)) {
		if ((by_flows(&in) ? in.flags | out.flags : in.flags) & RULE_OBSERVE)
			return leave(REASON_WOULD);
		if ((in.flags & RULE_POLICE) && policed(p, f->len - ETH_HLEN, false))
			return leave(REASON_POLICED);
		if (by_flows(&in))
			return REASON_LANE; /* with the tag that the flow says */
	}
	route->tci = vlan; /* PCP 0, DEI 0, as OVS */
	if (egress_tagged(&out, vlan))
		route->tag = f->tagged ? TAG_KEEP : TAG_PUSH;
	else
		route->tag = f->tagged ? TAG_POP : TAG_KEEP;
	return REASON_LANE;
}

/* lane_taken counts a frame that is redirected. */
static __always_inline int lane_taken(struct port_counters *c, const struct route *route, __u32 len)
{
	struct port_counters *sent = bpf_map_lookup_elem(&counters, &route->slot);

	c->frames[REASON_LANE]++;
	c->bytes[REASON_LANE] += len;
	rule_counts_add(route->hit, len);
	if (sent)
		sent->sent++;
	return XDP_REDIRECT;
}

static __always_inline int lane_run(struct xdp_md *ctx, bool tagged_beside)
{
	struct route route = {};
	struct port_counters *c;
	__u64 number, kind, now;
	struct frame f = {};
	enum reason reason;
	struct port *p;
	__u32 slot;

	f.len = scattered ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
	now = bpf_jiffies64();
	p = port_find(ctx->ingress_ifindex);
	if (!p)
		return XDP_PASS;
	reason = lane_decide(ctx, p, now, &f, &route, tagged_beside);
	if (reason == REASON_LANE) {
		/* Before the frame is touched: a miss passes it as it came. */
		if (unlikely(bpf_redirect_map(&targets, route.slot, XDP_PASS) != XDP_REDIRECT))
			reason = leave(REASON_NO_DEVICE);
		else if (finish && route.rest.len && !checksum_compute(ctx, &route.rest))
			reason = leave(REASON_CHECKSUM);
		else if (unlikely(!tag_act(ctx, route.tag, route.tci)))
			reason = leave(REASON_NO_HEADROOM);
	}
	slot = p->slot;
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return XDP_ABORTED; /* cannot happen: each slot has counters */
	if (reason == REASON_LANE) {
		if (finish && route.rest.len) {
			/* Last of all: what passes takes its mark along. */
			if (!checksum_store(ctx, &route.rest, tag_grows(route.tag)))
				return XDP_ABORTED; /* cannot happen: it was read there */
			c->finished++;
		}
		return lane_taken(c, &route, f.len);
	}
	number = reason;
	kind = reason <= REASON_WOULD ? reason : reason < REASON_DROPPED ? 2 : 3;
	/* The compiler knows, the verifier does not. */
	asm volatile("" : "+r"(number));
	asm volatile("%0 &= 3" : "+r"(kind));
	if (number >= REASON_COUNT)
		number = REASON_RUNT;
	c->frames[number]++;
	c->bytes[kind] += f.len;
	if (reason == REASON_DROPPED)
		rule_counts_add(route.hit, f.len);
	if (reason >= REASON_DROPPED)
		return XDP_DROP;
	if (p->police[RATE_BYTES].cost | p->police[RATE_FRAMES].cost)
		policed(p, f.len > ETH_HLEN ? f.len - ETH_HLEN : 0, true);
	return XDP_PASS;
}

SEC("xdp")
int ovs_xdp(struct xdp_md *ctx)
{
	return lane_run(ctx, false);
}

/* The same for a frame whose tag is beside it. */
SEC("xdp")
int ovs_xdp_tagged(struct xdp_md *ctx)
{
	return lane_run(ctx, true);
}

/*
 * For one device, which may hold a frame's tag beside it: it asks the driver, and
 * the frame goes on to one of the programs for all devices. Loading those for each
 * device took the verifier up to a tenth of a second.
 *
 * The kernel keeps a second pointer to a program that is bound to a device, and
 * does not follow when the verifier moves the program because it has outgrown
 * its memory, which comes in pages (bpf_prog_realloc in kernel/bpf/core.c,
 * offload->prog in kernel/bpf/offload.c): when the device goes, it reads freed
 * memory, and the host may crash. This program is far smaller than a page; the
 * daemon checks that it stays so.
 */
SEC("xdp")
int ovs_xdp_veth(struct xdp_md *ctx)
{
	if (ask_tag(ctx))
		bpf_tail_call(ctx, &entries, ENTRY_TAGGED);
	else
		bpf_tail_call(ctx, &entries, ENTRY_BARE);
	return XDP_PASS;
}

/* devmap_lost sees frames that a device did not take: without an error, its
 * queue was full. A device of another network namespace is none of ours. */
SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(devmap_lost, const struct net_device *from, const struct net_device *to, int sent,
	     int drops, int err)
{
	struct port *p;

	if (drops <= 0 || to->nd_net.net->ns.inum != netns)
		return 0;
	p = port_find(to->ifindex);
	if (p)
		port_loses(p, p->slot, drops, err >= 0);
	return 0;
}

/* redirect_lost sees frames that did not get as far as to the device. */
SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(redirect_lost, const struct net_device *from, const void *program,
	     const void *to, int err, int map_type, __u32 map_id, __u32 slot)
{
	struct port *p;

	if (map_id != targets_id)
		return 0;
	p = port_at(slot);
	if (slot <= port_mask && p->ifindex)
		port_loses(p, slot, 1, false);
	return 0;
}

/* What renew_lease is asked and what it answers. */
struct renewal {
	/* Jiffies from now until the lane closes; 0 only asks for the answer. */
	__u64 ticks;
	/* Not 0: open a lane that is closed; 0: only prolong one that is open. */
	__u32 reopen;
	/* Answer, not 0: the lease had run out (it was not prolonged, unless
	 * reopen was set). */
	__u32 expired;
	/* Answer: the jiffies of now. */
	__u64 now;
};

const volatile struct renewal export_renewal = {};

/*
 * renew_lease moves the deadline on. A lease that has run out is not renewed
 * by the way: the daemon slept, its picture is old, and it must look first.
 */
SEC("syscall")
int renew_lease(struct renewal *r)
{
	__u64 now = bpf_jiffies64();

	r->now = now;
	r->expired = now >= lease;
	if (r->ticks && (!r->expired || r->reopen))
		lease = now + r->ticks;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
