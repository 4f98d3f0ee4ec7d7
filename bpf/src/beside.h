/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VLAN tag that is not in the frame, but beside it. */
#ifndef OVS_XDP_BESIDE_H
#define OVS_XDP_BESIDE_H

#include "frame.h"
#include "maps.h"

/*
 * A veth hands a frame over with its tag beside it (skb->vlan_tci) when its
 * peer has tx-vlan-offload on, which only the peer's owner can change. Such a
 * frame looks untagged. The driver tells of the tag, from Linux 6.8 on, to a
 * program that is bound to the device: 0 for a tag, -ENODATA for none.
 */
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *proto,
					__u16 *tci) __ksym;

/* ask_tag tells whether there is a tag beside the frame, and leaves it for
 * tag_beside. */
static __always_inline bool ask_tag(struct xdp_md *ctx)
{
	__u32 zero = 0, *found;
	__be16 proto = 0;
	__u16 tci = 0;

	if (bpf_xdp_metadata_rx_vlan_tag(ctx, &proto, &tci))
		return false;
	found = bpf_map_lookup_elem(&beside, &zero);
	if (found)
		*found = tci;
	return true;
}

/* tag_beside puts that tag into f. */
static __always_inline void tag_beside(struct frame *f)
{
	__u32 zero = 0, *tci = bpf_map_lookup_elem(&beside, &zero);

	f->tci = tci ? *tci : 0;
	f->odd_tag = true;
}

#endif
