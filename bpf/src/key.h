/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading what rules match on. Where it is not certain that OVS reads the same
 * (a header that is cut off, lengths that contradict each other, headers that
 * are not walked here), the frame is left to OVS.
 */
#ifndef OVS_XDP_KEY_H
#define OVS_XDP_KEY_H

#include "checksum.h"
#include "frame.h"

enum {
	PROTO_IGMP = 2,
	PROTO_SCTP = 132,
	PROTO_FRAGMENT = 44,
	PROTO_AH = 51,
	SCTP_HEADER = 12,
	ICMP_HEADER = 8,
	ND_SOLICIT = 135,
	ND_ADVERT = 136,
	FRAG_OFFSET = 0x1fff,
	FRAG6_OFFSET = 0xfff8,
	FRAG6_MORE = 1,
	TYPE_NONE = 0x05ff, /* FLOW_DL_TYPE_NONE */
	FRAG_ANY = 1,
	FRAG_LATER = 2,
	/* More bytes behind the packet make OVS before 2.16 give it up
	 * (ipv4_sanity_check in lib/flow.c). */
	PADDING_MAX = 255,
};

/* How much of a key could be read. */
enum key_read {
	/* Not even whom the frame claims to be from. */
	KEY_NONE,
	/* The addresses, and not all of the rest. */
	KEY_ADDRESSES,
	KEY_WHOLE,
};

/* ARP over Ethernet for IPv4 (RFC 826): hardware and protocol types, lengths of
 * their addresses, operation; then the addresses of sender and target. */
struct arp_ip4 {
	__be16 hrd;
	__be16 pro;
	__u8 hln;
	__u8 pln;
	__be16 op;
	__u8 sha[6];
	__u8 spa[4];
	__u8 tha[6];
	__u8 tpa[4];
} __attribute__((packed));

struct frag6 {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* A neighbour's solicitation or advertisement (RFC 4861) behind its ICMPv6
 * header of 4 bytes. */
struct nd_message {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	__u8 target[16];
};

/* key_read_l4 reads the header at l4 of an L4 packet of len bytes that is no
 * fragment. */
static __always_inline int key_read_l4(void *l4, void *end, __u32 len, struct flow_key *k)
{
	switch (k->proto) {
	case PROTO_TCP: {
		struct tcphdr *tcp = l4;
		__u32 hlen;

		if ((void *)(tcp + 1) > end)
			return KEY_ADDRESSES;
		/* Of another length the kernel reads nothing (tcphdr_ok in
		 * net/openvswitch/flow.c). */
		hlen = (*(__u8 *)(l4 + 12) >> 4) * 4;
		if (hlen < sizeof(*tcp) || len < hlen)
			return KEY_ADDRESSES;
		k->tp_src = tcp->source;
		k->tp_dst = tcp->dest;
		k->tcp_flags = *(__be16 *)(l4 + 12) & bpf_htons(0x0fff);
		return KEY_WHOLE;
	}
	case PROTO_UDP:
	case PROTO_SCTP: {
		__u32 need = k->proto == PROTO_UDP ? sizeof(struct udphdr) : SCTP_HEADER;

		if (l4 + SCTP_HEADER > end && (k->proto == PROTO_SCTP || l4 + sizeof(struct udphdr) > end))
			return KEY_ADDRESSES;
		if (len < need)
			return KEY_ADDRESSES;
		k->tp_src = *(__be16 *)l4;
		k->tp_dst = *(__be16 *)(l4 + 2);
		return KEY_WHOLE;
	}
	case PROTO_ICMP:
	case IPPROTO_ICMP_V6: {
		__u8 *icmp = l4;

		if ((k->proto == PROTO_ICMP) != (k->type == bpf_htons(ETH_P_IP)))
			return KEY_ADDRESSES;
		if ((void *)(icmp + ICMP_HEADER) > end || len < ICMP_HEADER)
			return KEY_ADDRESSES;
		k->tp_src = bpf_htons(icmp[0]);
		k->tp_dst = bpf_htons(icmp[1]);
		return KEY_WHOLE;
	}
	case PROTO_IGMP: /* whose type some datapaths read */
		return KEY_ADDRESSES;
	}
	return KEY_WHOLE;
}

static __always_inline int key_read_ip4(void *l3, void *end, __u32 len, struct flow_key *k)
{
	struct iphdr *ip = l3;
	__u32 hlen, total;

	if ((void *)(ip + 1) > end)
		return KEY_NONE;
	__builtin_memcpy(k->ip_src, &ip->saddr, 4);
	__builtin_memcpy(k->ip_dst, &ip->daddr, 4);
	hlen = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || hlen < sizeof(*ip) || total < hlen || total > len ||
	    len - total > PADDING_MAX)
		return KEY_ADDRESSES;
	k->proto = ip->protocol;
	k->tos = ip->tos;
	k->ttl = ip->ttl;
	if (ip->frag_off & bpf_htons(FRAG_MASK)) {
		k->frag = FRAG_ANY;
		if (ip->frag_off & bpf_htons(FRAG_OFFSET))
			k->frag |= FRAG_LATER;
		else if (k->proto == PROTO_TCP)
			return KEY_ADDRESSES; /* whose flags some datapaths read */
		return KEY_WHOLE;
	}
	return key_read_l4(l3 + hlen, end, total - hlen, k);
}

/* is_extension tells the headers between IPv6 and L4 that datapaths walk. */
static __always_inline bool is_extension(__u8 proto)
{
	return proto == PROTO_HOPOPTS || proto == PROTO_ROUTING || proto == PROTO_DSTOPTS ||
	       proto == PROTO_FRAGMENT || proto == PROTO_AH;
}

static __always_inline int key_read_ip6(void *l3, void *end, __u32 len, struct flow_key *k)
{
	struct ipv6hdr *ip6 = l3;
	__u32 off = 0, payload;
	__u16 traffic;

	if ((void *)(ip6 + 1) > end)
		return KEY_NONE;
	__builtin_memcpy(k->ip_src, &ip6->saddr, 16);
	__builtin_memcpy(k->ip_dst, &ip6->daddr, 16);
	payload = bpf_ntohs(ip6->payload_len);
	if (ip6->version != 6 || !payload || payload + sizeof(*ip6) > len ||
	    len - sizeof(*ip6) - payload > PADDING_MAX)
		return KEY_ADDRESSES;
	traffic = bpf_ntohs(*(__be16 *)ip6);
	k->tos = traffic >> 4;
	k->ttl = ip6->hop_limit;
	k->proto = ip6->nexthdr;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 *ext = l3 + sizeof(*ip6) + off;
		struct frag6 *frag = (void *)ext;

		if (!is_extension(k->proto) || k->proto == PROTO_AH)
			break;
		if ((void *)(frag + 1) > end || off + sizeof(*frag) > payload)
			return KEY_ADDRESSES;
		if (k->proto == PROTO_FRAGMENT) {
			if (!(frag->offset & bpf_htons(FRAG6_OFFSET | FRAG6_MORE)))
				return KEY_ADDRESSES; /* of one piece: datapaths differ */
			k->frag = FRAG_ANY;
			if (frag->offset & bpf_htons(FRAG6_OFFSET)) {
				k->frag |= FRAG_LATER;
				/* In front of these the kernel gives up
				 * (ipv6_find_hdr in net/ipv6/exthdrs_core.c). */
				return is_extension(frag->next) ? KEY_ADDRESSES : KEY_WHOLE;
			}
			k->proto = frag->next;
			/* What else there is in front of the L4 header is not read. */
			return k->proto == PROTO_UDP || k->proto == IPPROTO_ICMP_V6 ? KEY_WHOLE : KEY_ADDRESSES;
		}
		k->proto = ext[0];
		off += (ext[1] + 1) * 8;
		if (off > 1024)
			return KEY_ADDRESSES;
	}
	if (is_extension(k->proto) || off > 1024 || payload < off)
		return KEY_ADDRESSES;
	return key_read_l4(l3 + sizeof(*ip6) + off, end, payload - off, k);
}

/* key_of_frame fills a key that is all 0. */
static __always_inline int key_of_frame(struct xdp_md *ctx, const struct frame *f, struct flow_key *k)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + frame_l3(f);
	struct ethhdr *eth = data;
	__u32 len = f->len - frame_l3(f);

	if (l3 > end)
		return KEY_NONE;
	__builtin_memcpy(k->dst, eth->h_dest, 6);
	__builtin_memcpy(k->src, eth->h_source, 6);
	if (type_is_tag(f->type))
		return KEY_NONE;
	if (f->type < ETH_P_802_3_MIN) { /* 802.3 */
		k->type = bpf_htons(TYPE_NONE);
		return KEY_ADDRESSES;
	}
	k->type = bpf_htons(f->type);
	if (f->tagged)
		k->tci = bpf_htons(f->tci | TCI_DEI);
	if (f->type == ETH_P_IP)
		return key_read_ip4(l3, end, len, k);
	if (f->type == ETH_P_IPV6)
		return key_read_ip6(l3, end, len, k);
	if (f->type == ETH_P_ARP || f->type == ETH_P_RARP) {
		struct arp_ip4 *arp = l3;

		if ((void *)(arp + 1) > end)
			return KEY_NONE;
		if (arp->hrd != bpf_htons(1) || arp->pro != bpf_htons(ETH_P_IP) || arp->hln != 6 || arp->pln != 4)
			return KEY_NONE;
		__builtin_memcpy(k->ip_src, arp->spa, 4);
	}
	return KEY_WHOLE;
}

/*
 * key_of_claim puts into a key the second pair of addresses of which the frame
 * says that they are its sender's, in the place of the first: of ARP the
 * hardware address, of a neighbour's advertisement its target. false: there is
 * none.
 */
static __always_inline bool key_of_claim(struct xdp_md *ctx, const struct frame *f, struct flow_key *k)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + frame_l3(f);

	if (f->type == ETH_P_ARP || f->type == ETH_P_RARP) {
		struct arp_ip4 *arp = l3;

		if ((void *)(arp + 1) > end)
			return false;
		__builtin_memcpy(k->src, arp->sha, 6);
		return true;
	}
	if (f->type == ETH_P_IPV6 && k->proto == IPPROTO_ICMP_V6 && k->tp_src == bpf_htons(ND_ADVERT)) {
		struct nd_message *nd = l3 + sizeof(struct ipv6hdr);

		if ((void *)(nd + 1) > end)
			return false;
		__builtin_memcpy(k->ip_src, nd->target, 16);
		return true;
	}
	return false;
}

#endif
