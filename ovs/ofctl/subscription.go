// SPDX-License-Identifier: Apache-2.0

package ofctl

// A subscription is how a monitor asks for notifications in one version of
// OpenFlow.
//
// "ovs-ofctl monitor BRIDGE watch:" alone reports rules but not ports: OVS
// sends a service connection no asynchronous messages. Its argument misslen
// would turn them on, but with packet-ins, and by rewriting the switch config.
// Instead the messages below, sent through the control socket of the child,
// turn on port status and nothing else. OVS gives a connection that configures
// its asynchronous messages the miss_send_len that it needs.
type subscription struct {
	version  string
	messages []string // OpenFlow messages in hexadecimal
}

// The flow monitor exists on OpenFlow 1.3 since Open vSwitch 3.0, on 1.0
// always.
var subscriptions = []subscription{
	{"OpenFlow13", []string{
		// OFPT_SET_ASYNC. The masks are packet-in, port status and flow
		// removed, each for the role of primary or equal, then secondary.
		"041c0020" + "00000001" +
			"00000000" + "00000000" + "00000007" + "00000000" + "00000000" + "00000000",
	}},
	{"OpenFlow10", []string{
		// NXT_SET_CONTROLLER_ID to 1: a connection of OpenFlow 1.0 whose id is
		// 0 makes OVS prepare a packet-in for each frame that no rule matches.
		"01040018" + "00000001" + "00002320" + "00000014" + "000000000000" + "0001",
		// NXT_SET_ASYNC_CONFIG, the masks as above.
		"01040028" + "00000002" + "00002320" + "00000013" +
			"00000000" + "00000000" + "00000007" + "00000000" + "00000000" + "00000000",
	}},
}
