// SPDX-License-Identifier: Apache-2.0

// Package conformance shows that Open vSwitch with ovs-xdpd delivers exactly
// the frames that Open vSwitch alone delivers: to the same ports, with the same
// bytes.
//
// A case is a random configuration of one or two bridges and a random sequence
// of frames and changes of the configuration, all made from a seed. It runs on
// two sides in lockstep: on bridges of which ovs-xdpd knows nothing, and on
// equal bridges that ask for the lane, in one Open vSwitch. Each frame is sent
// to the same port of both sides; then what every port received is compared, a
// multiset of byte strings per port, and so is what both know of stations.
//
// What is random in Open vSwitch itself is kept out, on both sides alike: a
// frame that may teach or move a station goes alone, between frames that
// travel together nothing is learned, and the datapath's flows are purged
// after each change. The package asserts besides that plain known unicast
// takes the lane, or is dropped there by a rule, where the lane knows all rules
// of the bridge: a lane that decides nothing would deliver the same frames, too.
// At the end of a case n_packets of each rule, in sum of the lane and OVS, must
// be what OVS alone has counted.
//
// What the lane does otherwise by intention is left out: xdp-validate=drop, and
// frames to and from the station of an attached-mac, which the lane knows before
// OVS has learned it.
package conformance
