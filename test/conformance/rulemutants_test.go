// SPDX-License-Identifier: Apache-2.0

//go:build mutants

package conformance

const (
	lists    = "bpf/src/lists.h"
	key      = "bpf/src/key.h"
	compiler = "sync/plan/rules/"
)

// ruleMutants break what the lane makes of OpenFlow rules.
var ruleMutants = []mutant{
	{"rules: every frame left to OVS", []edit{{lists, "(v == VERDICT_DROP ? REASON_DROPPED : v == VERDICT_NORMAL ? REASON_LANE : REASON_RULE)", "REASON_RULE"}}},
	{"rules: what they drop left to OVS", []edit{{lists, "v == VERDICT_DROP ? REASON_DROPPED : v", "v"}}},
	{"rules: what is left to OVS taken", []edit{{lists, "VERDICT_NORMAL ? REASON_LANE : REASON_RULE", "VERDICT_NORMAL ? REASON_LANE : REASON_LANE"}}},
	{"rules: first word of masks ignored", ignoreWord("0")},
	{"rules: source and tag ignored", ignoreWord("1")},
	{"rules: second half of IPv6 sources ignored", ignoreWord("3")},
	{"rules: destination addresses ignored", ignoreWord("4")},
	{"rules: protocols and ports ignored", ignoreWord("6")},
	{"rules: TCP flags ignored", ignoreWord("7")},
	{"rules: last rule of a list not reached", []edit{{lists, "if (i >= count)", "if (i + 1 >= count)"}}},
	{"rules: lists of destinations skipped", []edit{{lists, "if (l.flags & LIST_SCOPED) {", "if (0) {"}}},
	{"rules: lists of destinations go first", []edit{{lists, "if (r && (!best || r->order < best->order)) {", "if (r) {"}}},
	{"rules: lists of destinations go last", []edit{{lists, "if (r && (!best || r->order < best->order)) {", "if (r && !best) {"}}},
	{"rules: drops not counted", []edit{{program, "if (reason == REASON_DROPPED)", "if (0)"}}},
	{"rules: what can't be read decided", []edit{{lists, "if (read != KEY_WHOLE || f.odd_tag)", "if (0)"}}},
	{"rules: fragments of IPv4 ignored", []edit{{key, "if (ip->frag_off & bpf_htons(FRAG_MASK)) {", "if (0) {"}}},
	{"rules: later fragments of IPv4 are first ones", []edit{{key, "if (ip->frag_off & bpf_htons(FRAG_OFFSET))", "if (0)"}}},
	{"rules: later fragments of IPv6 are first ones", []edit{{key, "if (frag->offset & bpf_htons(FRAG6_OFFSET)) {", "if (0) {"}}},
	{"rules: length of extension headers ignored", []edit{{key, "off += (ext[1] + 1) * 8;", "off += 8;"}}},
	{"rules: IP options ignored", []edit{{key, "return key_read_l4(l3 + hlen, end, total - hlen, k);", "return key_read_l4(l3 + sizeof(*ip), end, total - hlen, k);"}}},
	{"rules: length of IPv4 believed", []edit{{key, " || total > len ||\n\t    len - total > PADDING_MAX)", ")"}}},
	{"rules: short L4 headers read", []edit{{key, "if (len < need)", "if (0 && len < need)"}}},
	{"rules: tags ignored", []edit{{key, "\tif (f->tagged)\n\t\tk->tci = bpf_htons(f->tci | TCI_DEI);\n", ""}}},
	{"rules: priority of tags ignored", []edit{{key, "bpf_htons(f->tci | TCI_DEI)", "bpf_htons((f->tci & TCI_VID) | TCI_DEI)"}}},
	{"rules: code of ICMP ignored", []edit{{key, "\t\tk->tp_dst = bpf_htons(icmp[1]);\n", ""}}},
	{"rules: TOS of IPv4 ignored", []edit{{key, "\tk->tos = ip->tos;\n", ""}}},
	{"rules: half of the traffic class", []edit{{key, "k->tos = traffic >> 4;", "k->tos = traffic >> 4 & 0xf0;"}}},
	{"rules: ports exchanged", []edit{{key, "\t\tk->tp_src = *(__be16 *)l4;\n\t\tk->tp_dst = *(__be16 *)(l4 + 2);\n", "\t\tk->tp_dst = *(__be16 *)l4;\n\t\tk->tp_src = *(__be16 *)(l4 + 2);\n"}}},
	{"rules: lowest priority first", []edit{{compiler + "chain.go", "cmp.Compare(b.priority, a.priority)", "cmp.Compare(a.priority, b.priority)"}}},
	{"rules: unknown fields ignored", []edit{{compiler + "step.go", "!exact || len(r.Actions) != 1", "!exact && r.Priority > 65534 || len(r.Actions) != 1"}}},
	{"rules: more than NORMAL is NORMAL", []edit{{compiler + "step.go", "len(r.Actions) != 1 {", "len(r.Actions) == 0 {"}}},
	{"rules: equal priorities decided", []edit{{compiler + "overlap.go", "add(step{pattern: a.and(&b.pattern)})", "add(step{pattern: a.and(&b.pattern), act: a.act})"}}},
	{"rules: what no rule matches is NORMAL", []edit{{compiler + "chain.go", "step{pattern: from.pattern, rules", "step{pattern: from.pattern, act: act{verdict: Normal}, rules"}}},
}

// ignoreWord leaves out a word of what a rule matches, also where two words are
// looked at before the others.
func ignoreWord(w string) []edit {
	return []edit{
		{lists, "differs |= (k[w] ^ r->value[w])", "differs |= w == " + w + " ? 0 : (k[w] ^ r->value[w])"},
		{lists, "if (((k[KEY_L4] ^ r->value[KEY_L4]) & r->mask[KEY_L4]) |\n\t\t    ((k[KEY_IP_DST] ^ r->value[KEY_IP_DST]) & r->mask[KEY_IP_DST]))\n\t\t\tcontinue;", "(void)k;"},
	}
}
