// SPDX-License-Identifier: Apache-2.0

package ovs

// SpanningTreeForwards tells whether an interface in this state of STP or RSTP
// (Detail.SpanningTree) sends and receives; "" is one that takes no part, which
// OVS lets do both.
func SpanningTreeForwards(state string) bool {
	return state == "" || state == "forwarding" || state == "disabled"
}
