// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Samples of frames that the lane has redirected: tcpdump does not see them.
 *
 * A program on the tracepoint by which the kernel tells that it has carried out a
 * redirect; nothing is put on the lane's programs, and nothing costs anything when
 * nobody looks. The frame, with the tag that it leaves with, is then the last in
 * the queue of its device on this CPU (bq_enqueue in kernel/bpf/devmap.c), and is
 * sent when the driver has done with all that it has received.
 *
 * (A program where the lane's programs return would see what they drop, too. But
 * some kernels let no program be traced, each port on veth has a program of its
 * own, and every frame that passes would pay.)
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "layout.h"
#include "frame.h"

enum {
	CACHE_LINE = 64,
	HAS_FRAGS = 1, /* XDP_FLAGS_HAS_FRAGS of include/net/xdp.h */
	QUEUE = 16, /* DEV_MAP_BULK_SIZE of include/net/xdp.h */
	SECOND = 1000000000,
};

/* The kernel's, as far as they are read here: relocated when loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct xdp_frame {
	void *data;
	__u32 len;
	__u32 headroom;
	__u32 frame_sz;
	__u32 flags;
};

struct net_device;

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct xdp_dev_bulk_queue {
	struct xdp_frame *q[QUEUE];
	struct net_device *dev_rx;
	unsigned int count;
};

struct net_device {
	int ifindex;
	possible_net_t nd_net;
	struct xdp_dev_bulk_queue *xdp_bulkq; /* per CPU */
};

struct skb_shared_info {
	unsigned int xdp_frags_size;
};

struct bpf_prog_aux {
	char name[16];
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

struct bpf_map {
	__u32 id;
};

struct bpf_array {
	void *pptrs[1]; /* per CPU */
};

struct bpf_iter__bpf_map {
	struct bpf_map *map;
};
#pragma clang attribute pop

/* Samples in this second, of all CPUs. */
struct capture_budget {
	__u64 since;
	__u64 taken;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} samples SEC(".maps");

/* Where a sample is put together. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_sample);
} desk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_budget);
} budget SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture_missed);
} missed SEC(".maps");

/* ifindex -> anything: frames from and to these devices are looked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} devices SEC(".maps");

/* Frames from and to this address are looked for, as read_mac reads it; 0: the
 * devices decide. */
const volatile __u64 station = 0;
/* Samples a second. */
const volatile __u64 rate = 1000;
/* Bytes of a frame, CAPTURE_SNAP at most. */
const volatile __u32 snap = CAPTURE_SNAP;
/* The network namespace of the devices: inode number of /proc/self/ns/net. */
const volatile __u32 netns = 0;

/* The kernel's id of desk, and its one value as the kernel has it: the same for
 * all CPUs, each of which adds an offset of its own. */
volatile __u32 desk_id = 0;
volatile __u64 desk_base = 0;

const volatile enum capture_limits export_limits = CAPTURE_SNAP;

/* capture_base looks up desk_base among all maps. */
SEC("iter/bpf_map")
int capture_base(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	struct bpf_array *array = (struct bpf_array *)map;
	void *base;

	if (map && map->id == desk_id && !bpf_core_read(&base, sizeof(base), &array->pptrs[0]))
		desk_base = (__u64)base;
	return 0;
}

/* here gives what a per-CPU pointer of the kernel stands for on this CPU. The
 * verifier computes with a pointer only once it has been in memory. */
static __always_inline void *here(void *per_cpu, struct capture_sample *s)
{
	*(volatile __u64 *)&s->time = (__u64)s;
	return (void *)((__u64)per_cpu + *(volatile __u64 *)&s->time - desk_base);
}

/* of_the_lane tells whether a program is ovs_xdp or ovs_xdp_veth. */
static __always_inline bool of_the_lane(const struct bpf_prog *prog)
{
	static const char name[] = "ovs_xdp";
	struct bpf_prog_aux *aux;
	char its[sizeof(name) - 1];

	if (bpf_core_read(&aux, sizeof(aux), &prog->aux) ||
	    bpf_core_read(its, sizeof(its), &aux->name))
		return false;
	for (int i = 0; i < sizeof(its); i++)
		if (its[i] != name[i])
			return false;
	return true;
}

/* more is how many bytes of a frame lie in further buffers (Linux 5.18;
 * xdp_get_shared_info_from_frame in include/net/xdp.h). */
static __always_inline __u32 more(struct xdp_frame *f)
{
	__u32 flags = 0, size = 0, headroom = 0, bytes = 0;
	struct skb_shared_info *info;
	void *data;

	if (!bpf_core_field_exists(f->flags) || bpf_core_read(&flags, sizeof(flags), &f->flags) ||
	    !(flags & HAS_FRAGS))
		return 0;
	if (bpf_core_read(&data, sizeof(data), &f->data) ||
	    bpf_core_read(&headroom, bpf_core_field_size(f->headroom), &f->headroom) ||
	    bpf_core_read(&size, sizeof(size), &f->frame_sz))
		return 0;
	size -= (bpf_core_type_size(struct skb_shared_info) + CACHE_LINE - 1) & -CACHE_LINE;
	info = data - headroom - bpf_core_type_size(struct xdp_frame) + size;
	bpf_core_read(&bytes, sizeof(bytes), &info->xdp_frags_size);
	return bytes;
}

/* take takes one sample from the budget; false when there is none left in this
 * second. */
static __always_inline bool take(__u64 now)
{
	struct capture_budget *b;
	__u32 zero = 0;
	__u64 since;

	b = bpf_map_lookup_elem(&budget, &zero);
	if (!b)
		return false;
	since = *(volatile __u64 *)&b->since;
	/* Another CPU's clock may be ahead. */
	if ((__s64)(now - since) >= SECOND &&
	    __sync_val_compare_and_swap(&b->since, since, now) == since)
		*(volatile __u64 *)&b->taken = 0;
	return *(volatile __u64 *)&b->taken < rate && __sync_fetch_and_add(&b->taken, 1) < rate;
}

/* last_of gives the frame that has just been put into the queue of a device. */
static __always_inline struct xdp_frame *last_of(struct net_device *to,
						 const struct net_device *from,
						 struct capture_sample *s)
{
	struct xdp_dev_bulk_queue *queue;
	struct net_device *source;
	struct xdp_frame *f;
	__u32 count;

	if (bpf_core_read(&queue, sizeof(queue), &to->xdp_bulkq))
		return NULL;
	queue = here(queue, s);
	/* One from a port in generic mode does not get there. */
	if (bpf_core_read(&source, sizeof(source), &queue->dev_rx) || source != from ||
	    bpf_core_read(&count, sizeof(count), &queue->count) || !count || count > QUEUE ||
	    bpf_core_read(&f, sizeof(f), &queue->q[count - 1]))
		return NULL;
	return f;
}

/* A raw tracepoint: to a program with types (tp_btf) the kernel gives no argument
 * that is a const void *, before some version after 6.12. */
SEC("raw_tp/xdp_redirect")
int BPF_PROG(capture_redirect, const struct net_device *dev, const struct bpf_prog *prog,
	     const void *tgt, int err, int map_type)
{
	__u32 zero = 0, from = 0, to = 0, len = 0;
	__u64 dst = 0, src = 0;
	struct capture_sample *s;
	struct capture_missed *m;
	struct net_device *device;
	struct xdp_frame *f;
	void *data;

	/* What costs least comes first: most redirects are not looked for. */
	if (map_type != BPF_MAP_TYPE_DEVMAP)
		return 0;
	/* "must be first member, due to tracepoint" (struct bpf_dtab_netdev) */
	if (!tgt || bpf_probe_read_kernel(&device, sizeof(device), tgt) || !device ||
	    bpf_core_read(&to, sizeof(to), &device->ifindex) ||
	    bpf_core_read(&from, sizeof(from), &dev->ifindex))
		return 0;
	if (!station && !bpf_map_lookup_elem(&devices, &from) &&
	    !bpf_map_lookup_elem(&devices, &to))
		return 0;
	s = bpf_map_lookup_elem(&desk, &zero);
	m = bpf_map_lookup_elem(&missed, &zero);
	if (!s || !m || BPF_CORE_READ(dev, nd_net.net, ns.inum) != netns || !of_the_lane(prog))
		return 0;
	f = last_of(device, dev, s);
	if (!f || bpf_core_read(&data, sizeof(data), &f->data) ||
	    bpf_core_read(&len, bpf_core_field_size(f->len), &f->len))
		return 0;
	if (station) {
		if (bpf_probe_read_kernel(&dst, ETH_ALEN, data) ||
		    bpf_probe_read_kernel(&src, ETH_ALEN, data + ETH_ALEN))
			return 0;
		if (read_mac((__u8 *)&dst) != station && read_mac((__u8 *)&src) != station)
			return 0;
	}
	s->time = bpf_ktime_get_ns();
	if (!take(s->time)) {
		m->over++;
		return 0;
	}
	s->from = from;
	s->to = to;
	s->len = len + more(f);
	if (len > snap)
		len = snap;
	asm volatile("" : "+r"(len)); /* the verifier wants a constant */
	if (len > CAPTURE_SNAP)
		len = CAPTURE_SNAP;
	if (bpf_probe_read_kernel(s->data, len, data))
		return 0;
	s->caught = len;
	if (bpf_ringbuf_output(&samples, s, offsetof(struct capture_sample, data) + len, 0))
		m->full++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
