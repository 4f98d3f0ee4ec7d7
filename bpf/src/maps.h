/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef OVS_XDP_MAPS_H
#define OVS_XDP_MAPS_H

#include "layout.h"

/* Where a frame of a veth goes on, in entries. */
enum entry {
	ENTRY_BARE, /* ovs_xdp */
	ENTRY_TAGGED, /* ovs_xdp_tagged */
	ENTRY_COUNT,
};

/* Sizes here are placeholders: the daemon sets max_entries before loading. */

/*
 * Tables that are read where they lie, without a call: each is all of a map of its
 * section, in one value, mapped into the daemon. The daemon sets its size before
 * loading; ENTRY hides from the compiler that it was another.
 */
#define ENTRY(table, number)                                                                        \
	({                                                                                          \
		__typeof__(&table[0]) first = table;                                                \
		asm("" : "+r"(first));                                                              \
		first + (number);                                                                   \
	})

/* Bucket number -> four stations. The daemon is its only writer but for marks and
 * stamps; see fdb.h. There are fdb_mask + 1. */
struct bucket fdb[1] SEC(".data.fdb");

/* Bucket number -> four flows. As the FDB; see flows.h. There are flow_mask + 1. */
struct flow_bucket flows[1] SEC(".data.flows");

/* Slot -> port. A device sits in one of the PORT_PROBES slots from ifindex &
 * port_mask on. There are port_mask + 1. */
struct port ports[1] SEC(".data.ports");

/* Slot -> device to send to. A device that vanishes leaves by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} targets SEC(".maps");

/* Slot -> counters of that port, per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct port_counters);
} counters SEC(".maps");

/* Rules of all lists, each list in one piece. Mapped into the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct list_rule);
} rules SEC(".maps");

/* CPU * rule_rows + place of a rule -> what it has decided there. An array of
 * its own making, for one per CPU can't be mapped into the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct rule_count);
} rule_counts SEC(".maps");

/* MAC << 16 | bridge << 12 -> list of the OpenFlow rules that name this one
 * destination (struct list). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} destinations SEC(".maps");

/* enum entry -> the program that a frame goes on to which has come to the one of
 * a veth (ovs_xdp_veth). Each daemon has its own; it is empty, and such frames
 * pass, when the daemon has ended. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, ENTRY_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} entries SEC(".maps");

/* TCI of the tag beside the frame at hand, on each CPU, for ovs_xdp_tagged. Each
 * daemon has its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} beside SEC(".maps");

/* "Look again": new and moved sources, ports that lose frames, frames without a
 * flow; struct event. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Set by the daemon before loading. */
const volatile __u32 fdb_mask = 1023;
const volatile __u32 port_mask = 1023;
const volatile __u64 fdb_seed = 0;
const volatile __u32 flow_mask = 1023;

/* The programs may get frames in several buffers (BPF_F_XDP_HAS_FRAGS, Linux
 * 5.18): those of a jumbo MTU. Only the first is between data and data_end. */
const volatile bool scattered = false;

/* Unfinished L4 checksums are finished (--finish-checksums). */
const volatile bool finish = false;

/* How many rules all lists have room for. */
const volatile __u32 rule_rows = 1024;

/* The network namespace of the daemon and its devices: inode number of
 * /proc/self/ns/net. */
const volatile __u32 netns = 0;

/* The lane is open until this many jiffies; 0 closes it. */
volatile __u64 lease = 0;

/* The kernel's id of targets. A program that is not XDP can't use that map to
 * find out (bpf_prog_map_compatible in kernel/bpf/core.c). */
volatile __u32 targets_id = 0;

/* port_at returns the port of a slot, which is port_mask at most. */
static __always_inline struct port *port_at(__u32 slot)
{
	return ENTRY(ports, slot & port_mask);
}

#endif
