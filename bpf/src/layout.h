/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Shapes and constants that the program and the daemon share. The Go side is
 * generated from this file (see ../generate.go): nothing here is typed twice.
 *
 * All numbers are in host byte order.
 */
#ifndef OVS_XDP_LAYOUT_H
#define OVS_XDP_LAYOUT_H

#include <linux/types.h>

enum limits {
	/* Version of these shapes; a daemon never reads tables of another one. */
	LAYOUT_VERSION = 6,
	/* How many slots after ifindex & port_mask a port may sit in. */
	PORT_PROBES = 8,
	/* Rows in a bucket of the FDB, and flows in one of theirs. */
	BUCKET_ROWS = 4,
	/* Unit of keep-alive stamps: jiffies >> STAMP_SHIFT. */
	STAMP_SHIFT = 6,
	/* Unit of the event budget's window, and events a port may send in it. */
	EVENT_WINDOW_SHIFT = 6,
	EVENT_BURST = 32,
	/* Buckets that frames to a bond are hashed into. */
	BOND_LEGS = 16,
	/* A full queue loses frames whoever fills it, OVS or the lane, and TCP finds
	 * out that way how much it may send: a device may lose one frame in so
	 * many, and so many more on each CPU, before no frame is sent to it. */
	LOSS_SHARE = 4,
	LOSS_BURST = 512,
	/* Costs of a frame in a rate limit are in 1 >> COST_SHIFT nanoseconds. */
	COST_SHIFT = 20,
	/* Rules in a list at most: what the kernel's verifier walks in good time. */
	LIST_MAX = 256,
};

/*
 * Flags of a port's rule. A rule of 0 passes every frame and makes the port
 * no target.
 */
enum rule_flag {
	/* Frames from this port are looked at: VLAN rule and source check. */
	RULE_WATCH = 1 << 0,
	/* Frames from this port may take the lane. */
	RULE_INGRESS = 1 << 1,
	/* Frames may be sent to this port. */
	RULE_EGRESS = 1 << 2,
	/* Port:protected: no frame goes from such a port to such a port. */
	RULE_PROTECTED = 1 << 3,
	/* Frames from this port may carry an unfinished L4 checksum. */
	RULE_CHECKSUM = 1 << 4,
	/* How the port carries VLANs; none of these: trunk. */
	RULE_ACCESS = 1 << 5,
	RULE_NATIVE_TAGGED = 1 << 6,
	RULE_NATIVE_UNTAGGED = 1 << 7,
	/* The port stands for a bond: frames to it leave by one of its legs. */
	RULE_BOND = 1 << 8,
	/* The device takes redirected frames that lie in several buffers. */
	RULE_SCATTERED = 1 << 9,
	/* A frame from this port is nothing but its bytes, never a socket buffer
	 * that goes with it: its checksum may be finished. */
	RULE_FINISH = 1 << 10,
	/* From here on: what few ports have, and one comparison tells. */
	RULE_SPECIAL = 1 << 16,
	/* The port has an attached-mac: it can't take other ports' stations. */
	RULE_DECLARED = 1 << 16,
	/* A member of a bond whose other members may hand back what was sent by
	 * one of them, and OVS drops it. */
	RULE_REFLECTS = 1 << 17,
	/* Frames from this port are decided by lists (struct port: rules, addresses). */
	RULE_LISTS = 1 << 18,
	/* Count what would take the lane, and pass it (xdp-offload=observe). */
	RULE_OBSERVE = 1 << 19,
	/* Frames from this port are limited in rate (struct port: police). */
	RULE_POLICE = 1 << 20,
	/* Frames from this port go where OVS's flows send them (struct flow), and
	 * its stations are in VLAN 0 of the FDB whatever their tags. Above all others,
	 * so that one comparison tells. */
	RULE_FLOWS = 1 << 21,
};

/* What the program knows of a port, in one word, so that it is read whole. */
struct port_rule {
	/* Number of the bridge, 1 to 15, << 12 | VLAN of untagged frames (Port:tag, 0
	 * on a trunk), as in a key of struct bucket. */
	__u16 domain;
	/* Largest frame from and to the port, in bytes, Ethernet header included and
	 * 802.1Q tag not: MTU + 14. */
	__u16 max_frame;
	/* enum rule_flag */
	__u32 flags;
};

enum {
	DOMAIN_BRIDGE = 0xf000,
	DOMAIN_VLAN = 0x0fff,
};

/* Flags of a list. */
enum list_flag {
	/* Frames to some destinations are decided by a list of theirs, too. */
	LIST_SCOPED = 1 << 0,
};

/* Where a list of rules is, in one word, so that it is read whole. */
struct list {
	/* Its first rule in the array of rules, and how many there are; 0: none. */
	__u32 first;
	__u16 count;
	/* enum list_flag */
	__u16 flags;
};

/*
 * What a rule can match on, in network byte order, as OVS takes it from a frame
 * (flow_extract in lib/flow.c). What a frame does not have is 0.
 */
struct flow_key {
	__u8 dst[6];
	/* Behind the outer tag. */
	__be16 type;
	__u8 src[6];
	/* Of the outer tag, with the bit 0x1000 set; 0: none. */
	__be16 tci;
	/* IPv6; IPv4 in the first four bytes. Of ARP the sender's. */
	__u8 ip_src[16];
	__u8 ip_dst[16];
	/* Of IPv6 behind all extension headers. */
	__u8 proto;
	__u8 tos;
	__u8 ttl;
	/* 1: any fragment, 2: one with an offset, too. */
	__u8 frag;
	/* Ports, or type and code of ICMP; 0 of a fragment. */
	__be16 tp_src;
	__be16 tp_dst;
	__be16 tcp_flags;
	__u8 unused[6];
};

enum {
	KEY_WORDS = sizeof(struct flow_key) / sizeof(__u64),
	/* Words with the first half of ip_dst, and with proto and ports. */
	KEY_IP_DST = 4,
	KEY_L4 = 6,
};

enum verdict {
	/* OVS decides. */
	VERDICT_PASS = 0,
	/* Go on: as a learning switch does. */
	VERDICT_NORMAL,
	VERDICT_DROP,
};

/* One rule of a list: it matches the frames whose key is value in the bits of
 * mask. The lowest order of those that match decides. */
struct list_rule {
	__u64 value[KEY_WORDS];
	__u64 mask[KEY_WORDS];
	__u32 order;
	/* enum verdict */
	__u32 verdict;
	/* A frame that it decides passes once in so many 1 << STAMP_SHIFT jiffies,
	 * so that OVS sees the rule used; 0: none. stamp is when one last did. */
	__u32 idle;
	__u32 stamp;
};

/* What a rule of a list has decided on one CPU, but for what went to OVS. */
struct rule_count {
	__u64 frames;
	__u64 bytes;
};

/*
 * A limit of rate, as a policer of the kernel's (net/sched/act_police.c): a
 * frame moves the time at which the bucket is full again on by its cost, and is
 * over the limit when that gets more than burst nanoseconds ahead of now.
 */
struct rate {
	/* Of a byte behind the Ethernet header, or a frame; in nanoseconds <<
	 * COST_SHIFT. 0: no limit. */
	__u64 cost;
	__u64 burst;
};

enum { RATE_BYTES, RATE_FRAMES, RATES };

struct port {
	union {
		struct port_rule rule;
		__u64 rule_word;
	};
	/* The device; 0 marks a free slot. */
	__u32 ifindex;
	/* Slot that rows of the port's stations name: its own, or in a bond that
	 * of the first member. */
	__u32 bundle;
	/* RULE_BOND: slot of the member that frames of each bucket leave by; of one
	 * that is not there a number above all slots. */
	__u16 legs[BOND_LEGS];
	/* Not 0: the device loses frames that are redirected to it. None is sent to
	 * it until the daemon clears this. Beside the rule, for it is read with it. */
	__u32 loses;
	/* Frames that the device must take to make up for those that its full queue
	 * has lost. */
	__u32 debt;
	/* Interval of keep-alive frames from stations on this port, in units of
	 * 1 << STAMP_SHIFT jiffies, 255 at most; 0 means every frame passes. */
	__u32 keepalive;
	/* Its own. */
	__u32 slot;
	/* VLANs of the bridge whose frames from this port are looked at, bit
	 * v % 64 of word v / 64 for VLAN v. Another VLAN passes. */
	__u64 vlans[64];
	/* RULE_LISTS: the OpenFlow rules that name no single destination, and the
	 * source addresses that the port may use (VERDICT_NORMAL). */
	union {
		struct list rules;
		__u64 rules_word;
	};
	union {
		struct list addresses;
		__u64 addresses_word;
	};
	/* RULE_POLICE */
	struct rate police[RATES];
	/* RULE_DECLARED: the attached-mac << 16, first octet in the highest byte;
	 * frames with another source pass. 0: none. */
	__u64 mac;
	__u64 unused2;
	/* Written by the program only: when each bucket is full again, in
	 * nanoseconds of CLOCK_MONOTONIC. */
	__u64 full[RATES];
	/* Event budget: window number << 16 | events sent in it. Written by the
	 * program only. */
	__u64 budget;
	/* Window in which the daemon was last told that there is no flow. */
	__u64 asked;
	__u64 unused3[4];
};

/* Flags of an FDB row. */
enum row_flag {
	/* The row counts; a row without it is absent. */
	ROW_VALID = 1 << 0,
	/* The station was seen on a port that is not the row's, or it was not
	 * confirmed yet: frames from and to it pass. */
	ROW_MOVED = 1 << 1,
	/* Set by the daemon before it reads OVS's MAC table, cleared by the
	 * program when it sees a station of a MOVED row: then what was read is
	 * older than what was seen, and does not clear the mark. */
	ROW_ASKED = 1 << 2,
	/* Frames may be sent to the station (else the row only vouches for
	 * frames from it). */
	ROW_TARGET = 1 << 3,
	/* A mirror selects frames from the station: they pass. */
	ROW_MIRRORED = 1 << 4,
	/* The database declares the station here (attached-mac): a port with
	 * RULE_DECLARED that shows its address does not mark it as moved. */
	ROW_DECLARED = 1 << 5,
};

/* Where a station is, in one word, so that it is read and changed whole. */
struct row {
	/* Slot of its port. */
	__u16 slot;
	/* Slot where the station of a MOVED row was seen last. */
	__u16 seen;
	/* When a frame of it last passed as keep-alive: jiffies >> STAMP_SHIFT,
	 * low 16 bits. */
	__u16 stamp;
	/* enum row_flag */
	__u16 flags;
};

/*
 * A bucket of the FDB, one cache line. A key is MAC << 16 | bridge << 12 |
 * VLAN with the MAC's first octet in the highest byte; 0 is a free place.
 */
struct bucket {
	__u64 key[BUCKET_ROWS];
	__u64 row[BUCKET_ROWS];
};

/* What is done with a frame's outer tag. */
enum tag_action {
	TAG_KEEP = 0,
	TAG_POP,
	TAG_PUSH,
	/* Its TCI is replaced. */
	TAG_SET,
};

/* Flags of a flow. */
enum flow_flag {
	/* enum tag_action */
	FLOW_TAG = 3,
	/* The flow counts; one without it is absent. */
	FLOW_VALID = 1 << 2,
};

/* Where OVS's flow sends a frame, in one word, so that it is read and changed
 * whole. */
struct flow {
	/* Slot of the port that it leaves by; in a bond that of the first member. */
	__u16 slot;
	/* TCI of the tag that it leaves with: TAG_PUSH, TAG_SET. */
	__u16 tci;
	/* When a frame of it last passed as keep-alive, as in struct row. */
	__u16 stamp;
	/* Interval of keep-alive frames, in units of 1 << STAMP_SHIFT jiffies; 0
	 * means every frame passes. */
	__u8 keepalive;
	/* enum flow_flag */
	__u8 flags;
};

/*
 * A bucket of the flow table, two cache lines, the keys in the first. A key is
 * the exact frame: from is its source << 16 | its tag | FLOW_IP6, to is its
 * destination << 16 | FLOW_KEY | slot of the port that it came from (struct port:
 * bundle). The tag is its TCI, of which VID 0 stands for none. 0 is a free place.
 */
struct flow_bucket {
	__u64 from[BUCKET_ROWS];
	__u64 to[BUCKET_ROWS];
	__u64 flow[BUCKET_ROWS];
	__u64 unused[BUCKET_ROWS];
};

/* Bits of a flow's key. */
enum flow_bit {
	/* IPv6, else IPv4; where a TCI has the DEI bit. */
	FLOW_IP6 = 1 << 12,
	/* Never 0; above the highest slot. */
	FLOW_KEY = 1 << 15,
};

/*
 * Why a frame left the program where it did. LANE and WOULD are the express
 * lane; from DROPPED on it was dropped; every other reason passed it to OVS.
 */
enum reason {
	/* redirected to the port of its destination */
	REASON_LANE = 0,
	/* would have been redirected, but the bridge is in observe mode */
	REASON_WOULD,
	/* the daemon's lease has run out, or the lane is closed */
	REASON_LEASE,
	/* nothing may be taken from this port now */
	REASON_PORT_CLOSED,
	/* too short, or not an Ethernet frame that the program reads */
	REASON_RUNT,
	/* a tag that this port does not carry, or a VLAN that is kept out */
	REASON_VLAN,
	/* 802.1ad, two tags, VID 0, DEI set, or the tag beside the frame */
	REASON_ODD_TAG,
	/* group bit set in the source address */
	REASON_GROUP_SOURCE,
	/* the source is not in the FDB */
	REASON_NEW_SOURCE,
	/* the source is known on another port, or marked as moved */
	REASON_MOVED_SOURCE,
	/* the source is declared on another port, and this one has its own */
	REASON_SPOOFED_SOURCE,
	/* the source is known on another port, and the bond may reflect it */
	REASON_REFLECTED,
	/* a mirror selects frames from the source */
	REASON_MIRRORED,
	/* broadcast or multicast */
	REASON_GROUP,
	/* neither IPv4 nor IPv6 */
	REASON_NOT_IP,
	/* IPv6 neighbour discovery */
	REASON_ND,
	/* one frame per station and interval, to keep it alive in OVS */
	REASON_KEEPALIVE,
	/* the destination is not in the FDB, or not a target */
	REASON_UNKNOWN,
	/* the destination is marked as moved */
	REASON_MOVED,
	/* the destination is on the port that the frame came from */
	REASON_HAIRPIN,
	/* nothing may be sent to the destination's port now */
	REASON_EGRESS_CLOSED,
	/* the destination's device loses frames that are redirected to it */
	REASON_LOSES_FRAMES,
	/* from a protected port to a protected port */
	REASON_PROTECTED,
	/* larger than the destination's port takes, or its own may send */
	REASON_TOO_LONG,
	/* in several buffers, which the destination's port does not take */
	REASON_SCATTERED,
	/* the L4 checksum is not finished, or can't be proven to be */
	REASON_CHECKSUM,
	/* the destination's port has gone from the devmap */
	REASON_NO_DEVICE,
	/* no room for the tag in front of the frame */
	REASON_NO_HEADROOM,
	/* the OpenFlow rules do something else with it, or can't be proven not to */
	REASON_RULE,
	/* a source address that the port may not use (attached-mac, xdp-addresses) */
	REASON_FOREIGN_ADDRESS,
	/* a fragment of IP, or IPv6 with an extension header: flows are for neither */
	REASON_FRAGMENT,
	/* OVS has shown no flow for it that the lane can take */
	REASON_NO_FLOW,
	/* its flow goes to another port than the one that its destination is on */
	REASON_STALE_FLOW,
	/* an OpenFlow rule drops it */
	REASON_DROPPED,
	/* a source address that the port may not use (xdp-validate=drop) */
	REASON_DROPPED_ADDRESS,
	/* over the port's ingress policing rate */
	REASON_POLICED,
	REASON_COUNT,
};

/* Counters of one port on one CPU; frames by enum reason of the port that
 * they came from. */
struct port_counters {
	__u64 frames[REASON_COUNT];
	/* Bytes of the frames as received: LANE, WOULD, passed, dropped. */
	__u64 bytes[4];
	/* Frames redirected to this port. */
	__u64 sent;
	/* Events that were not sent: over the budget, ring buffer full. */
	__u64 events_limited;
	__u64 events_lost;
	/* Frames redirected to this port that its device did not take. */
	__u64 lost;
	/* Frames taken, as far as they have been settled with debt of struct port. */
	__u64 settled;
	/* Frames from this port, of those redirected, whose L4 checksum was
	 * finished here. */
	__u64 finished;
};

enum event_kind {
	/* A source that is not in the FDB. */
	EVENT_NEW = 1,
	/* A source that is known on another port; its row is now MOVED. */
	EVENT_MOVED = 2,
	/* A port whose device loses what is redirected to it. */
	EVENT_LOSES = 3,
	/* A frame that there is no flow for; one in a window and port. */
	EVENT_NO_FLOW = 4,
};

struct event {
	/* Of the source, as in struct bucket; 0 for EVENT_LOSES. */
	__u64 key;
	/* Slot of the port: where the source was seen, or that loses frames. */
	__u32 slot;
	/* enum event_kind */
	__u32 kind;
};

/* What follows is of capture.bpf.c. */

enum capture_limits {
	/* Bytes of a frame that are copied at most: more than there are in its
	 * first buffer where a page has 4096. */
	CAPTURE_SNAP = 4096,
};

/* A frame as it leaves. */
struct capture_sample {
	/* Nanoseconds of CLOCK_MONOTONIC. */
	__u64 time;
	/* Devices by ifindex. */
	__u32 from;
	__u32 to;
	/* Bytes of the frame, and how many of them are in data. */
	__u32 len;
	__u32 caught;
	__u8 data[CAPTURE_SNAP];
};

/* Frames that would have been samples. */
struct capture_missed {
	/* Over the rate. */
	__u64 over;
	/* Nobody has read earlier ones. */
	__u64 full;
};

#endif
