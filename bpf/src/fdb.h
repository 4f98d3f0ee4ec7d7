/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The FDB: a cuckoo table of two choices with buckets of four, read without a
 * helper call.
 *
 * Readers and the one writer (Go, ../fdb.go) share it without locks:
 *  - the writer publishes a row before its key, and clears the row before the
 *    key, so that a matching key beside a valid row belongs to it;
 *  - a place that was cleared is not used again before every program that may
 *    have read it has ended (an RCU grace period), so that a row never changes
 *    under a reader to another station's;
 *  - a station that changes its place in the table is published in the second
 *    before it leaves the first, a grace period later: a program that looked
 *    into one bucket too early finds it in the other.
 * The program itself changes rows only by compare-and-exchange.
 */
#ifndef OVS_XDP_FDB_H
#define OVS_XDP_FDB_H

#include "frame.h"
#include "maps.h"

union row_word {
	struct row row;
	__u64 word;
};

static __always_inline struct bucket *bucket_at(__u64 number)
{
	return ENTRY(fdb, number & fdb_mask);
}

/* bucket_find returns the place of a key's row, or NULL. */
static __always_inline __u64 *bucket_find(struct bucket *b, __u64 key)
{
#pragma unroll
	for (int i = 0; i < BUCKET_ROWS; i++)
		if (*(volatile __u64 *)&b->key[i] == key)
			return &b->row[i];
	return NULL;
}

/* bucket_read returns a key's row, or 0. It reads each place by itself: to the
 * compiler all four are one, whose number it would work out first. */
static __always_inline __u64 bucket_read(struct bucket *b, __u64 key)
{
	__u64 word;

#pragma unroll
	for (int i = 0; i < BUCKET_ROWS; i++)
		if (*(volatile __u64 *)&b->key[i] == key) {
			word = *(volatile __u64 *)&b->row[i];
			asm("" : "+r"(word));
			return word;
		}
	return 0;
}

/*
 * fdb_hash mixes a key; the low bits choose the first bucket. Two
 * multiplications, so that they depend on the MAC's first octets, too.
 */
static __always_inline __u64 fdb_hash(__u64 key)
{
	__u64 x = (key ^ fdb_seed) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 32)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 32);
}

static __always_inline __u64 fdb_second(__u64 hash)
{
	return (hash * 0xbf58476d1ce4e5b9ULL) >> 32;
}

/*
 * fdb_find gives the row of a station as it was read; false when the station is not
 * known. A row is not 0, and one that is absent is. It does not tell the place: to the
 * verifier, each of the eight would be a way of its own through all that follows.
 */
static __always_inline bool fdb_find(__u64 key, union row_word *out)
{
	__u64 hash = fdb_hash(key);

	out->word = bucket_read(bucket_at(hash), key);
	if (likely(out->word))
		return true;
	out->word = bucket_read(bucket_at(fdb_second(hash)), key);
	return out->word;
}

/* fdb_place does so, and returns the row's place, or NULL. */
static __always_inline __u64 *fdb_place(__u64 key, union row_word *out)
{
	__u64 hash = fdb_hash(key);
	__u64 *place = bucket_find(bucket_at(hash), key);

	if (place) {
		out->word = *(volatile __u64 *)place;
		if (out->word)
			return place;
	}
	place = bucket_find(bucket_at(fdb_second(hash)), key);
	if (place) {
		out->word = *(volatile __u64 *)place;
		if (out->word)
			return place;
	}
	return NULL;
}

/*
 * fdb_sighted marks the row of a station as moved, having been seen on slot.
 * Gives up when others change the row at the same time: then the next frame
 * marks it. Not inline, and of external linkage, so that the verifier goes through
 * it once; so is fdb_stamp. Both are for few frames.
 */
__attribute__((noinline)) int fdb_sighted(__u64 key, __u32 slot)
{
	union row_word was = {};
	__u64 *place = fdb_place(key, &was);

	if (!place)
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		union row_word now = was;
		__u64 found;

		now.row.flags = (was.row.flags | ROW_MOVED) & ~ROW_ASKED;
		now.row.seen = slot;
		if (now.word == was.word)
			return 0;
		found = __sync_val_compare_and_swap(place, was.word, now.word);
		if (found == was.word)
			return 0;
		was.word = found;
		if (!was.word)
			return 0;
	}
	return 0;
}

/*
 * fdb_stamp takes the keep-alive of a station whose row was read as was: 1 for the
 * one program that sets the stamp, else 0.
 */
__attribute__((noinline)) int fdb_stamp(__u64 key, __u64 was, __u32 stamp)
{
	union row_word now = {};
	__u64 *place = fdb_place(key, &now);

	if (!place || now.word != was)
		return 0;
	now.row.stamp = stamp;
	return __sync_val_compare_and_swap(place, was, now.word) == was;
}

#endif
