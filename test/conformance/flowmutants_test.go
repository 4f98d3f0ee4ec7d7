// SPDX-License-Identifier: Apache-2.0

//go:build mutants

package conformance

// flowMutants break what the lane makes of OVS's flows.
var flowMutants = []mutant{
	{"flows: source check dropped", []edit{
		{program, "if (unlikely(src.row.slot != bundle) || unlikely(src.row.flags & ROW_MOVED)) {", "if (0) {"}}},
	{"flows: moved destination ignored", []edit{
		{program, "if (unlikely((dst.row.flags & (ROW_TARGET | ROW_MOVED)) != ROW_TARGET))", "if (!(dst.row.flags & ROW_TARGET))"}}},
	// The guard for unfinished checksums keeps fragments of virtual devices, too: without
	// it, as on a NIC.
	{"flows: fragments taken", []edit{
		{program, "if (frame_in_pieces(ctx, f))", "if (0)"},
		{program, "if ((in.flags & RULE_CHECKSUM) && unlikely(!checksum_finished", "if (0 && unlikely(!checksum_finished"}}},
	{"flows: tags kept", []edit{{program, "route->tag = flow.flow.flags & FLOW_TAG;", "route->tag = TAG_KEEP;"}}},
	{"flows: another tag", []edit{{program, "route->tci = flow.flow.tci;", "route->tci = flow.flow.tci ^ 1;"}}},
	{"flows: what is behind addresses ignored", []edit{
		{"ovs/dpflow/match.go", "\t\t\tr.refuse(a.reason, name+\"(\"+field+\")\")", "\t\t\tif a.reason != L3Match && a.reason != L4Match {\n\t\t\t\tr.refuse(a.reason, name)\n\t\t\t}"}}},
}
