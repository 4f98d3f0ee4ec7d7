/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pushing and popping the outer tag. */
#ifndef OVS_XDP_TAG_H
#define OVS_XDP_TAG_H

#include "frame.h"

/* tag_pop and tag_push change the frame only when they can finish. */
static __always_inline bool tag_pop(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 a, b, c;

	if (data + ETH_HLEN + TAG_LEN > end)
		return false;
	a = *(__u32 *)data;
	b = *(__u32 *)(data + 4);
	c = *(__u32 *)(data + 8);
	if (bpf_xdp_adjust_head(ctx, TAG_LEN))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN > end)
		return false;
	*(__u32 *)data = a;
	*(__u32 *)(data + 4) = b;
	*(__u32 *)(data + 8) = c;
	return true;
}

static __always_inline bool tag_push(struct xdp_md *ctx, __u16 vid)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 a, b, c;

	if (data + ETH_HLEN > end)
		return false;
	a = *(__u32 *)data;
	b = *(__u32 *)(data + 4);
	c = *(__u32 *)(data + 8);
	if (bpf_xdp_adjust_head(ctx, -TAG_LEN))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + TAG_LEN > end)
		return false;
	*(__u32 *)data = a;
	*(__u32 *)(data + 4) = b;
	*(__u32 *)(data + 8) = c;
	*(__be16 *)(data + 12) = bpf_htons(ETH_P_8021Q);
	*(__be16 *)(data + 14) = bpf_htons(vid); /* PCP 0, DEI 0, as OVS */
	return true;
}

#endif
