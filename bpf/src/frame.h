/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading a frame: addresses, the outer tag, what it carries. */
#ifndef OVS_XDP_FRAME_H
#define OVS_XDP_FRAME_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ipv6.h>

enum {
	TAG_LEN = 4,
	TCI_VID = 0x0fff,
	TCI_DEI = 0x1000,
	IPPROTO_ICMP_V6 = 58,
	ND_FIRST = 133,
	ND_LAST = 137,
};

struct frame {
	/* Addresses << 16, first octet in the highest byte. */
	__u64 dst, src;
	/* Bytes, Ethernet header and tag included, in all buffers. */
	__u32 len;
	/* EtherType behind the outer tag, host byte order. */
	__u16 type;
	/* TCI of the outer tag; 0 when there is none. */
	__u16 tci;
	bool tagged;
	/* A tag that the lane does not handle: 802.1ad, VID 0, DEI, a second, or
	 * one beside the frame. */
	bool odd_tag;
};

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* frame_scattered tells whether a frame lies in several buffers. */
static __always_inline bool frame_scattered(struct xdp_md *ctx, const struct frame *f)
{
	return ctx->data_end - ctx->data != f->len;
}

/* frame_l3 tells where the payload starts. */
static __always_inline __u32 frame_l3(const struct frame *f)
{
	return f->tagged ? ETH_HLEN + TAG_LEN : ETH_HLEN;
}

static __always_inline bool type_is_tag(__u16 type)
{
	return type == ETH_P_8021Q || type == ETH_P_8021AD;
}

/* read_mac gives an address << 16, its first octet in the highest byte. */
static __always_inline __u64 read_mac(const __u8 *p)
{
	return (__u64)bpf_ntohl(*(const __be32 *)p) << 32 |
	       (__u64)bpf_ntohs(*(const __be16 *)(p + 4)) << 16;
}

/* frame_read fills f but for its len; false when the frame is too short to be
 * read. Two loads of eight bytes have both addresses and the EtherType. */
static __always_inline bool frame_read(struct xdp_md *ctx, struct frame *f)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u64 head, tail;
	__u32 tag; /* its TCI and the inner EtherType */

	if (data + ETH_HLEN > end)
		return false;
	head = bpf_be64_to_cpu(*(__be64 *)data);
	tail = bpf_be64_to_cpu(*(__be64 *)(data + ETH_ALEN));
	f->dst = head & ~0xffffULL;
	f->src = tail & ~0xffffULL;
	f->type = tail;
	f->tci = 0;
	f->tagged = false;
	f->odd_tag = false;
	if (f->type == ETH_P_8021Q || unlikely(f->type == ETH_P_8021AD)) {
		if (data + ETH_HLEN + TAG_LEN > end)
			return false;
		tag = bpf_ntohl(*(__be32 *)(data + ETH_HLEN));
		/* VID and DEI at once: 1 to 0xfff is a VID without DEI. */
		if (unlikely(f->type != ETH_P_8021Q) ||
		    unlikely((tag >> 16 & (TCI_DEI | TCI_VID)) - 1 >= TCI_VID) || unlikely(type_is_tag(tag)))
			f->odd_tag = true;
		f->tci = tag >> 16;
		f->tagged = true;
		f->type = tag;
	}
	return true;
}

/* frame_is_nd tells IPv6 neighbour discovery (RFC 4861), and what claims to be
 * IPv6 but is too short to tell. */
static __always_inline bool frame_is_nd(struct xdp_md *ctx, const struct frame *f)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + frame_l3(f);
	__u8 *type = (void *)(ip6 + 1);

	if ((void *)(type + 1) > end)
		return true;
	return ip6->nexthdr == IPPROTO_ICMP_V6 && *type >= ND_FIRST && *type <= ND_LAST;
}

#endif
