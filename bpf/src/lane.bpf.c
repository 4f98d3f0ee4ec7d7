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

static __always_inline struct port *port_find(__u32 ifindex, __u32 *slot)
{
	for (int i = 0; i < PORT_PROBES; i++) {
		struct port *p;

		*slot = (ifindex + i) & port_mask;
		p = bpf_map_lookup_elem(&ports, slot);
		if (p && p->ifindex == ifindex)
			return p;
	}
	return NULL;
}

static __always_inline union rule_copy port_rule(const struct port *p)
{
	return (union rule_copy){ .word = *(const volatile __u64 *)&p->rule_word };
}

static __always_inline void event_send(struct port_counters *c, __u64 key, __u32 slot, __u32 kind)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		c->events_lost++;
		return;
	}
	e->key = key;
	e->slot = slot;
	e->kind = kind;
	bpf_ringbuf_submit(e, 0);
}

/*
 * notify asks the daemon to look at OVS's MAC table. The budget keeps a port
 * that floods from drowning the daemon and the events of other ports.
 */
static __always_inline void notify(struct port *p, struct port_counters *c, __u64 key, __u32 slot,
				   __u32 kind)
{
	__u64 window = (bpf_jiffies64() >> EVENT_WINDOW_SHIFT) << 16;
	__u64 budget = p->budget;

	if ((budget & ~0xffffULL) != window)
		budget = window;
	if ((budget & 0xffff) >= EVENT_BURST) {
		c->events_limited++;
		return;
	}
	p->budget = budget + 1;
	event_send(c, key, slot, kind);
}

/*
 * notify_no_flow asks the daemon to look at OVS's flows. It reads all of them, so
 * one event in a window says it; and each frame that OVS alone can handle comes
 * by here, so none is charged to the budget of what moves.
 */
static __always_inline void notify_no_flow(struct port *p, struct port_counters *c, __u64 key,
					   __u32 slot, __u64 now)
{
	__u64 window = now >> EVENT_WINDOW_SHIFT;

	if (p->asked == window)
		return;
	p->asked = window;
	event_send(c, key, slot, EVENT_NO_FLOW);
}

/* frame_vlan gives the VLAN of the bridge that the frame is in; false when OVS
 * drops it here, or when this port's VLAN is kept out of the lane. */
static __always_inline bool frame_vlan(const struct port *p, const struct port_rule *r,
				       const struct frame *f, __u16 *vlan)
{
	if ((r->flags & RULE_ACCESS) && f->vid)
		return false; /* even its own VID */
	*vlan = (f->vid ?: r->domain) & DOMAIN_VLAN;
	return p->vlans[*vlan / 64] >> (*vlan % 64) & 1;
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
	return __builtin_expect(in->flags & RULE_FLOWS, 0);
}

static __always_inline enum reason lane_decide(struct xdp_md *ctx, struct port *p, __u32 slot,
					       struct port_counters *c, struct frame *f,
					       struct route *route, bool tagged_beside)
{
	struct port_rule in, out;
	union row_word src, dst;
	struct port *target;
	__u64 now = bpf_jiffies64(), domain;
	__u32 dst_slot, len, bundle = p->bundle;
	enum reason left = REASON_LANE;
	__u16 vlan = 0, stamp;
	bool tagged;

	/* The lane is open, and this port is on it. */
	if (now >= lease)
		return REASON_LEASE;
	in = port_rule(p).rule;
	if (!(in.flags & RULE_WATCH))
		return REASON_PORT_CLOSED;

	/* A frame of one VLAN of this bridge. */
	if (!frame_read(ctx, f))
		return REASON_RUNT;
	if (tagged_beside)
		tag_beside(f);

	/* The bridge's rules do not drop it. What they drop is not learned from. */
	if (in.flags & RULE_LISTS) {
		struct ruling r = { .frame = *f, .now = now, .slot = slot };

		left = lists_decide(ctx, &r);
		route->hit = r.hit;
		if (left >= REASON_DROPPED)
			return in.flags & RULE_OBSERVE ? REASON_WOULD : left;
	}
	if (!by_flows(&in) && !frame_vlan(p, &in, f, &vlan))
		return REASON_VLAN;
	domain = (in.domain & DOMAIN_BRIDGE) | vlan;

	/* Its source is known, and on this port. On every frame: what OVS would
	 * learn from is what announces a move. */
	if (f->src >> 56 & 1)
		return REASON_GROUP_SOURCE;
	if (!fdb_find(f->src | domain, &src)) {
		notify(p, c, f->src | domain, bundle, EVENT_NEW);
		return REASON_NEW_SOURCE;
	}
	if (src.row.slot != bundle && (in.flags & RULE_REFLECTS) && f->type != ETH_P_ARP)
		return REASON_REFLECTED;
	if (src.row.slot != bundle && (src.row.flags & ROW_DECLARED) && (in.flags & RULE_DECLARED))
		return REASON_SPOOFED_SOURCE;
	if (src.row.slot != bundle || (src.row.flags & ROW_MOVED)) {
		if (src.row.slot != bundle && (!(src.row.flags & ROW_MOVED) || src.row.seen != bundle))
			notify(p, c, f->src | domain, bundle, EVENT_MOVED);
		fdb_sighted(f->src | domain, bundle);
		return REASON_MOVED_SOURCE;
	}
	if (in.flags & (RULE_LISTS | RULE_DECLARED)) {
		if (left != REASON_LANE)
			return left;
		if ((in.flags & RULE_DECLARED) && p->mac && f->src != p->mac)
			return REASON_FOREIGN_ADDRESS;
	}

	/* It is plain unicast IP. */
	if (tagged_beside || f->odd_tag)
		return REASON_ODD_TAG;
	if (f->dst >> 56 & 1)
		return REASON_GROUP;
	if (f->type == ETH_P_IPV6) {
		if (frame_is_nd(ctx, f))
			return REASON_ND;
	} else if (f->type != ETH_P_IP) {
		return REASON_NOT_IP;
	}
	if (!(in.flags & RULE_INGRESS))
		return REASON_PORT_CLOSED;
	if (src.row.flags & ROW_MIRRORED)
		return REASON_MIRRORED;

	/* OVS has seen its source lately. */
	stamp = now >> STAMP_SHIFT;
	if ((__u16)(stamp - src.row.stamp) >= p->keepalive &&
	    fdb_stamp(f->src | domain, src.word, stamp))
		return REASON_KEEPALIVE;

	/* Where flows decide, OVS has one for exactly this frame, and has seen it
	 * used lately. */
	if (by_flows(&in)) {
		union flow_word flow;

		if (frame_in_pieces(ctx, f))
			return REASON_FRAGMENT;
		if (!flow_find(flow_from(f), flow_to(f, bundle), &flow)) {
			notify_no_flow(p, c, f->src | domain, bundle, now);
			return REASON_NO_FLOW;
		}
		if ((__u16)(stamp - flow.flow.stamp) >= flow.flow.keepalive &&
		    flow_stamp(flow_from(f), flow_to(f, bundle), flow.word, stamp))
			return REASON_KEEPALIVE;
		route->slot = flow.flow.slot;
		route->tci = flow.flow.tci;
		route->tag = flow.flow.flags & FLOW_TAG;
	}

	/* Its destination is known, and on another port that takes it. */
	if (!fdb_find(f->dst | domain, &dst))
		return REASON_UNKNOWN;
	if ((dst.row.flags & (ROW_TARGET | ROW_MOVED)) != ROW_TARGET)
		return dst.row.flags & ROW_TARGET ? REASON_MOVED : REASON_UNKNOWN;
	if (dst.row.slot == bundle)
		return REASON_HAIRPIN;
	/* A station that was seen elsewhere takes all flows to it out of use. */
	if (by_flows(&in) && dst.row.slot != route->slot)
		return REASON_STALE_FLOW;
	dst_slot = dst.row.slot;
	target = bpf_map_lookup_elem(&ports, &dst_slot);
	if (!target)
		return REASON_NO_DEVICE;
	out = port_rule(target).rule;
	if (out.flags & RULE_BOND) {
		dst_slot = target->legs[bond_bucket(ctx, f)];
		target = bpf_map_lookup_elem(&ports, &dst_slot);
		if (!target)
			return REASON_NO_DEVICE;
		out = port_rule(target).rule;
	}
	if (!(out.flags & RULE_EGRESS) || ((out.domain ^ in.domain) & DOMAIN_BRIDGE))
		return REASON_EGRESS_CLOSED;
	if (*(volatile __u32 *)&target->loses)
		return REASON_LOSES_FRAMES;
	if (in.flags & out.flags & RULE_PROTECTED)
		return REASON_PROTECTED;
	/* The userspace datapath does not even read what is larger than the MTU
	 * of the port that it comes from. */
	len = f->len - frame_l3(f) + ETH_HLEN;
	if (len > out.max_frame || len > in.max_frame)
		return REASON_TOO_LONG;
	if (f->scattered && !(out.flags & RULE_SCATTERED))
		return REASON_SCATTERED;
	if ((in.flags & RULE_CHECKSUM) && !checksum_finished(ctx, f, &route->rest) &&
	    !checksum_may_finish(ctx, f, &in, &route->rest))
		return REASON_CHECKSUM;

	/* Flows lead from bridge to bridge, and each may be in observe mode. */
	if (in.flags & (RULE_FLOWS | RULE_OBSERVE | RULE_POLICE)) {
		if ((by_flows(&in) ? in.flags | out.flags : in.flags) & RULE_OBSERVE)
			return REASON_WOULD;
		if ((in.flags & RULE_POLICE) && policed(p, f->len - ETH_HLEN, false))
			return REASON_POLICED;
		if (by_flows(&in)) {
			route->slot = dst_slot;
			return REASON_LANE; /* with the tag that the flow says */
		}
	}
	route->slot = dst_slot;
	tagged = egress_tagged(&out, vlan);
	route->tci = vlan; /* PCP 0, DEI 0, as OVS */
	route->tag = tagged == f->tagged ? TAG_KEEP : tagged ? TAG_PUSH : TAG_POP;
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
	struct frame f = {};
	struct port_counters *c;
	enum reason reason;
	struct port *p;
	__u64 number, kind;
	__u32 slot;

	p = port_find(ctx->ingress_ifindex, &slot);
	if (!p)
		return XDP_PASS;
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return XDP_PASS;

	f.len = ctx->data_end - ctx->data;
	if (scattered) {
		__u32 whole = bpf_xdp_get_buff_len(ctx);

		f.scattered = f.len != whole;
		f.len = whole;
	}
	reason = lane_decide(ctx, p, slot, c, &f, &route, tagged_beside);
	if (reason == REASON_LANE) {
		/* Before the frame is touched: a miss passes it as it came. */
		if (bpf_redirect_map(&targets, route.slot, XDP_PASS) != XDP_REDIRECT)
			reason = REASON_NO_DEVICE;
		else if (finish && route.rest.len && !checksum_compute(ctx, &route.rest))
			reason = REASON_CHECKSUM;
		else if (!tag_act(ctx, route.tag, route.tci))
			reason = REASON_NO_HEADROOM;
		else if (finish && route.rest.len) {
			/* Last of all: what passes takes its mark along. */
			if (!checksum_store(ctx, &route.rest, tag_grows(route.tag)))
				return XDP_ABORTED; /* cannot happen: it was read there */
			c->finished++;
		}
	}
	if (reason == REASON_LANE)
		return lane_taken(c, &route, f.len);
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
	__u32 zero = 0, *tci;

	tci = bpf_map_lookup_elem(&beside, &zero);
	if (!tci)
		return XDP_PASS;
	if (ask_tag(ctx, tci))
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
	__u32 slot;

	if (drops <= 0 || to->nd_net.net->ns.inum != netns)
		return 0;
	p = port_find(to->ifindex, &slot);
	if (p)
		port_loses(p, slot, drops, err >= 0);
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
	p = bpf_map_lookup_elem(&ports, &slot);
	if (p && p->ifindex)
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
