/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The partial-checksum guard. A virtual device hands frames over before their
 * L4 checksum is computed (CHECKSUM_PARTIAL; VIRTIO_NET_HDR_F_NEEDS_CSUM): the
 * field then holds the folded sum of the pseudo-header. XDP does not see that
 * mark, and a redirect loses it, so the frame would arrive corrupt.
 *
 * The guard proves that a frame is finished, or gives up. A finished frame
 * whose checksum happens to look unfinished passes to OVS, which is right.
 */
#ifndef OVS_XDP_CHECKSUM_H
#define OVS_XDP_CHECKSUM_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "frame.h"

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
};

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* l4_finished: pseudo is the sum of the addresses, len the L4 length in bytes,
 * l4 where the L4 header starts. */
static __always_inline bool l4_finished(void *l4, void *end, __u8 proto, __u32 len, __u64 pseudo)
{
	__u16 check;

	if (proto == PROTO_ICMP || proto == IPPROTO_ICMP_V6)
		return true; /* no kernel leaves these to the device */
	if (proto == PROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return false;
		check = tcp->check;
	} else if (proto == PROTO_UDP) {
		struct udphdr *udp = l4;
		__u16 port;

		if ((void *)(udp + 1) > end)
			return false;
		port = bpf_ntohs(udp->dest);
		if (!udp->check || port == PORT_VXLAN || port == PORT_VXLAN_LINUX ||
		    port == PORT_GENEVE)
			return false; /* perhaps a tunnel, its inside unfinished */
		check = udp->check;
	} else {
		return false; /* SCTP, tunnels, and what we can't judge */
	}
	pseudo += bpf_htons(proto);
	/* Without the length: as some systems leave frames to be segmented. */
	return check != csum_fold(pseudo + bpf_htons(len)) && check != csum_fold(pseudo);
}

/* checksum_finished tells whether the frame's L4 checksum is proven to be
 * finished. Fragments and what cannot be read are not. */
static __always_inline bool checksum_finished(struct xdp_md *ctx, const struct frame *f)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + (f->tagged ? ETH_HLEN + TAG_LEN : ETH_HLEN);

	if (f->type == ETH_P_IP) {
		struct iphdr *ip = l3;
		__u32 hlen, total;

		if ((void *)(ip + 1) > end)
			return false;
		hlen = ip->ihl * 4;
		total = bpf_ntohs(ip->tot_len);
		if (ip->version != 4 || hlen < sizeof(*ip) || total < hlen ||
		    (ip->frag_off & bpf_htons(FRAG_MASK)))
			return false;
		return l4_finished(l3 + hlen, end, ip->protocol, total - hlen,
				   (__u64)ip->saddr + ip->daddr);
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
		return l4_finished((void *)(ip6 + 1) + off, end, proto, len - off, pseudo);
	}
}

#endif
