/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pushing, popping and changing the outer tag. */
#ifndef OVS_XDP_TAG_H
#define OVS_XDP_TAG_H

#include "frame.h"
#include "layout.h"

/* Each changes the frame only when it can finish. */
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

static __always_inline bool tag_push(struct xdp_md *ctx, __u16 tci)
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
	*(__be16 *)(data + 14) = bpf_htons(tci);
	return true;
}

static __always_inline bool tag_set(struct xdp_md *ctx, __u16 tci)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + ETH_HLEN + TAG_LEN > end)
		return false;
	*(__be16 *)(data + 14) = bpf_htons(tci);
	return true;
}

/* tag_act does one of them. */
static __always_inline bool tag_act(struct xdp_md *ctx, enum tag_action act, __u16 tci)
{
	switch (act) {
	case TAG_KEEP:
		return true;
	case TAG_POP:
		return tag_pop(ctx);
	case TAG_PUSH:
		return tag_push(ctx, tci);
	case TAG_SET:
		return tag_set(ctx, tci);
	}
	return false;
}

/* tag_grows tells by how many bytes the frame's end moves away from its start. */
static __always_inline __s32 tag_grows(enum tag_action act)
{
	return act == TAG_POP ? -TAG_LEN : act == TAG_PUSH ? TAG_LEN : 0;
}

#endif
