/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The partial-checksum guard. A virtual device hands frames over before their
 * L4 checksum is computed (CHECKSUM_PARTIAL; VIRTIO_NET_HDR_F_NEEDS_CSUM): the
 * field then holds the folded sum of the pseudo-header. XDP does not see that
 * mark, and a redirect loses it, so the frame would arrive corrupt.
 *
 * The guard proves that a frame is finished, or gives up. A finished frame
 * whose checksum happens to look unfinished passes to OVS, which is right.
 *
 * With --finish-checksums the program does what the device would have done, to
 * frames that lose their mark when they are redirected: the field takes the
 * complement of the sum over the L4 packet, in which it already stands for the
 * pseudo-header. Of a frame that was finished that gives what it held. One that
 * was made to look unfinished by hand, without the mark, arrives repaired.
 */
#ifndef OVS_XDP_CHECKSUM_H
#define OVS_XDP_CHECKSUM_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "frame.h"
#include "maps.h"

enum {
	PROTO_ICMP = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	/* IPv6 extension headers (RFC 8200). */
	PROTO_HOPOPTS = 0,
	PROTO_ROUTING = 43,
	PROTO_DSTOPTS = 60,
	MAX_EXTENSIONS = 6,
	FRAG_MASK = 0x3fff, /* MF and offset of IPv4 */
	/* UDP ports of tunnels whose inner checksum the outer one hides. */
	PORT_GENEVE = 6081,
	PORT_VXLAN = 4789,
	PORT_VXLAN_LINUX = 8472,
	/* Largest L4 packet whose checksum is finished: that of an MTU of 1500. */
	FINISH_MAX = 1480,
	/* Bytes that are added up between two looks at the end; a power of two. */
	FINISH_STEP = 64,
	/* Above what an L4 header's place in the frame can be. */
	L4_MASK = 0x7ff,
};

/* An L4 checksum that is left to be finished. */
struct unfinished {
	/* Where the L4 header starts in the frame. */
	__u32 l4;
	/* Length of header and payload; 0: there is nothing to be finished. */
	__u32 len;
	/* Of UDP, else TCP. */
	bool udp;
	/* The checksum, when it has been computed. */
	__u16 check;
};

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* csum_part folds a sum of less than 1 << 36. */
static __always_inline __u16 csum_part(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* l4_finished: pseudo is the sum of the addresses, len the L4 length in bytes,
 * l4 where the L4 header starts, at the same from the start of the frame. */
static __always_inline bool l4_finished(void *l4, void *end, __u8 proto, __u32 len, __u64 pseudo,
					__u32 at, struct unfinished *u)
{
	__u16 check, unfinished, short_of_len;

	if (proto == PROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return false;
		check = tcp->check;
	} else if (proto == PROTO_UDP) {
		struct udphdr *udp = l4;
		__be16 port;

		if ((void *)(udp + 1) > end)
			return false;
		port = udp->dest;
		if (!udp->check || port == bpf_htons(PORT_VXLAN) ||
		    port == bpf_htons(PORT_VXLAN_LINUX) || port == bpf_htons(PORT_GENEVE))
			return false; /* perhaps a tunnel, its inside unfinished */
		check = udp->check;
	} else {
		/* No kernel leaves ICMP to the device. SCTP, tunnels and others we
		 * can't judge. */
		return proto == PROTO_ICMP || proto == IPPROTO_ICMP_V6;
	}
	/* Without the length: as some systems leave frames to be segmented. */
	short_of_len = csum_part(pseudo + bpf_htons(proto));
	pseudo = (__u64)short_of_len + (__u16)bpf_htons(len);
	unfinished = (pseudo & 0xffff) + (pseudo >> 16);
	if (check != unfinished && check != short_of_len)
		return true;
	if (finish && check == unfinished && len <= FINISH_MAX) {
		u->l4 = at;
		u->udp = proto == PROTO_UDP;
		if (u->udp ? len == bpf_ntohs(((struct udphdr *)l4)->len) && len >= sizeof(struct udphdr) :
			     len >= sizeof(struct tcphdr))
			u->len = len;
	}
	return false;
}

/* checksum_finished tells whether the frame's L4 checksum is proven to be
 * finished. Fragments and what cannot be read are not. Of one that is proven to
 * be unfinished u tells where it is, if it has a form that can be finished. */
static __always_inline bool checksum_finished(struct xdp_md *ctx, const struct frame *f,
					      struct unfinished *u)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + frame_l3(f);

	if (f->type == ETH_P_IP) {
		struct iphdr *ip = l3;
		__u32 first, hlen, total;

		if ((void *)(ip + 1) > end)
			return false;
		first = *(__u8 *)ip - 0x45; /* version 4, and the words of the header from 5 on */
		hlen = sizeof(*ip) + first * 4;
		total = bpf_ntohs(ip->tot_len);
		if (first > 0x4f - 0x45 || total < hlen || (ip->frag_off & bpf_htons(FRAG_MASK)))
			return false;
		return l4_finished(l3 + hlen, end, ip->protocol, total - hlen,
				   (__u64)ip->saddr + ip->daddr, frame_l3(f) + hlen, u);
	} else {
		struct ipv6hdr *ip6 = l3;
		__u64 pseudo = 0;
		__u32 off = 0, len;
		__u8 proto;

		if ((void *)(ip6 + 1) > end || ip6->version != 6)
			return false;
#pragma unroll
		for (int i = 0; i < 4; i++)
			pseudo += (__u64)ip6->saddr.in6_u.u6_addr32[i] +
				  ip6->daddr.in6_u.u6_addr32[i];
		proto = ip6->nexthdr;
		len = bpf_ntohs(ip6->payload_len);
		for (int i = 0; i < MAX_EXTENSIONS; i++) {
			__u8 *ext;

			if (proto != PROTO_HOPOPTS && proto != PROTO_DSTOPTS)
				break; /* a routing header changes the pseudo-header */
			ext = (void *)(ip6 + 1) + off;
			if ((void *)(ext + 2) > end)
				return false;
			proto = ext[0];
			off += (ext[1] + 1) * 8;
			if (off > 1024)
				return false;
		}
		if (off > 1024 || len < off)
			return false;
		return l4_finished((void *)(ip6 + 1) + off, end, proto, len - off, pseudo,
				   frame_l3(f) + sizeof(*ip6) + off, u);
	}
}

/*
 * checksum_may_finish tells whether an unfinished checksum is to be finished:
 * all that it covers is here, and the frame loses its mark when it is
 * redirected.
 *
 * It keeps the mark where its socket buffer goes with it: in generic mode, and
 * from a tap in native mode too, when it is to be segmented, or was not written
 * in the short way (tun_build_skb and tun_xdp_one in drivers/net/tun.c). It would
 * then be finished twice, and several datagrams that are one frame be made one.
 * Nothing says so outright. That a frame is bare is known from a veth, which
 * never redirects a socket buffer (RULE_FINISH); and where there may be no
 * metadata in front of the frame, data_meta being behind data: a socket buffer
 * always takes it, a bare frame of a tap not before Linux 6.15.
 */
static __always_inline bool checksum_may_finish(struct xdp_md *ctx, const struct frame *f,
						const struct port_rule *in,
						const struct unfinished *u)
{
	if (!finish || !u->len || frame_scattered(ctx, f) || u->l4 + u->len > f->len)
		return false;
	return (in->flags & RULE_FINISH) ||
	       (void *)(long)ctx->data_meta > (void *)(long)ctx->data;
}

/* bounded shows the verifier that a number is from 0 to L4_MASK. */
static __always_inline __u64 bounded(__u64 n)
{
	asm volatile("%0 &= %1" : "+r"(n) : "i"(L4_MASK));
	return n;
}

/* checksum_compute leaves the frame as it is; false: it can't be read. */
static __always_inline bool checksum_compute(struct xdp_md *ctx, struct unfinished *u)
{
	void *end = (void *)(long)ctx->data_end, *l4, *p;
	__u64 even = 0, odd = 0, done, len = bounded(u->len);

	l4 = (void *)(long)ctx->data + bounded(u->l4);
	/* What is left at the end of whole steps, by the bits of the length: first,
	 * for behind the steps the verifier would go through it once for each number
	 * of steps. */
#pragma unroll
	for (__u32 n = FINISH_STEP / 2; n; n /= 2) {
		if (!(len & n))
			continue;
		p = l4 + (len & ~(2ULL * n - 1));
		if (p + n > end)
			return false;
		if (n == 1)
			odd += *(__u8 *)p; /* the second octet of this pair is 0 */
		else if (n == 2)
			odd += *(__u16 *)p;
		else
#pragma unroll
			for (int i = 0; i < n / 4; i++)
				even += ((__u32 *)p)[i];
	}
	p = l4;
#pragma clang loop unroll(disable)
	for (done = FINISH_STEP; done <= FINISH_MAX; done += FINISH_STEP) {
		if (done > len)
			break;
		if (p + FINISH_STEP > end)
			return false;
#pragma unroll
		for (int i = 0; i < FINISH_STEP / 4; i += 2) {
			even += ((__u32 *)p)[i];
			odd += ((__u32 *)p)[i + 1];
		}
		p += FINISH_STEP;
	}
	u->check = ~csum_fold(even + odd);
	if (u->udp && !u->check)
		u->check = 0xffff; /* 0 means none (RFC 768) */
	return true;
}

/* checksum_store puts the checksum into the frame, whose head has moved by some
 * bytes. */
static __always_inline bool checksum_store(struct xdp_md *ctx, const struct unfinished *u, __s32 moved)
{
	__u32 field_at = u->udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check);
	void *field = (void *)(long)ctx->data + bounded(u->l4 + moved + field_at);

	if (field + sizeof(__u16) > (void *)(long)ctx->data_end)
		return false;
	*(__u16 *)field = u->check;
	return true;
}

#endif
