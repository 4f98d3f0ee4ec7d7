// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
)

// A suite is one test binary.
type suite struct {
	name    string
	pkg     string // folder in the repository
	args    []string
	timeout time.Duration // of the binary
	deal    bool          // each test in anyVersion runs on one of the kernels
	skip    string        // tests that run elsewhere
}

// suites run in this order.
var suites = []suite{
	{name: "bpf", pkg: "bpf", timeout: 10 * time.Minute, deal: true, skip: "^TestTableModel$"}, // which runs nothing in the kernel
	{name: "host", pkg: "sync/host", timeout: 10 * time.Minute},
	{name: "e2e", pkg: "test/e2e", timeout: 25 * time.Minute, deal: true, skip: elsewhere},
	// One bridge with ports of all VLAN modes, of whose frames the lane takes 32.
	{name: "conformance", pkg: "test/conformance", timeout: 10 * time.Minute,
		args: []string{"-cases", "1", "-pipelines", "0", "-tables", "10", "-seed", "29", "-frames", "60"}},
}

// anyKernel matches the end-to-end tests that no kernel and no datapath makes a
// difference to: of keys, commands, the database, timers of the daemon; and those of
// what the conformance set, or the programs' own tests, try on every kernel: VLANs,
// floods, takeovers. They run on the host's kernel; here with -full, or as the suite
// "rest".
const anyKernel = "^Test(" +
	"AcrossVLANs|Addresses|Ageing|AuditAgrees|AuditClosesLane|AuditFindsUnannouncedRule|AuditLeavesNoTrace|AuditRepairsRow|BadValues|CanaryOfNothing|Capture|" +
	"Conditions|ControlSocket|CountsOutliveRules|DaemonEnds|DaemonFirst|DeclaredStations|Detach|Doctor|FinishedChecksums|Flapping|FloodOfSources|FloodsAreTheSame|FloodVLANs|" +
	"FlowsAudit|FlowsForced|FlowsGone|FlowsMove|FlowsOfNormal|FlowsOfOneBridge|FlowsPortChange|FlowsRuleChange|FlowsSecurityGroup|FlowsTakeover|FlowsTooMany|" +
	"FlowsUnannounced|FlowsValidate|Flush|FrozenDaemon|FullFDB|IdleTimeout|LearningLatency|ManyRules|Metrics|MetricsAddress|Mirrors|Modes|" +
	"MoveThatOVSLearnsLate|Moves|MovesToUnseenPorts|NewVM|OfctlPortConfig|Policing|PortBits|PortOff|PortRetagged|PortTarget|ProtectedPorts|" +
	"PublishStatus|RuleChange|RuleClosesLane|RulesThatChangeAllTheTime|SameAddressInTwoVLANs|SecondDaemon|SeveralBridges|SomeVLANs|SpanningTree|" +
	"SpanningTreeBlocksPort|StaticRows|StatsAddUp|Takeover|TakeoverDetached|TakeoverFails|TakeoverGoesOn|TakeoverKeepsAudit|TakeoverKilledAtAnyMoment|" +
	"TakeoverOfPorts|TakeoverOfRules|TakeoverThenKilled|TakeoverWhileOVSChanges|TakeoverWithOtherFlags|ToolWithoutDaemon|Top|" +
	"TrafficWhileDaemonEnds|VLANModes|VMDisappears|Why)$"

// anyVersion lists the tests that need a kernel of the lab, but that its version makes
// little difference to: each runs on one of the kernels, in turn, so the dear ones
// come in pairs; with -full on all. First the programs by random frames and many
// writers, and what their tables hold; what each case of a frame comes to is tested on
// every kernel. Then end to end.
var anyVersion = []string{
	"TestFlowModel", "TestModel",
	"TestRandomFinish", "TestRandomKeys",
	"TestCapture", "TestCaptureUnderLoad",
	"TestRandomLists", "TestRandomChecksums",
	"TestStress", "TestStressFlows",
	"TestListsAreNotMixed", "TestClosingIsNotHalfSeen",
	"TestMoveIsNotMissed", "TestMovedFlowIsNotMissed",
	"TestReclaim", "TestReclaimLists",
	"TestEventsLost", "TestEventBudget",
	"TestCaptureChooses", "TestCaptureRate",
	"TestFullNowAndThen", "TestListsComeAndGo",
	"TestHandOverLists", "TestAdoptRefuses",
	"TestMend", "TestMendFlows",
	"TestPortsReadBack", "TestPortTable",
	"TestEachRow", "TestPutRowErrors",
	"TestProgramFindsFlows", "TestProgramFindsRows",

	"TestActiveBackupBond", "TestBalanceTCPBond",
	"TestVswitchdRestarts", "TestFramesLeftToOVS",
	"TestStationMoves", "TestJumbo",
	"TestSLBBond", "TestVethWithoutGRO",
	"TestFrameLongerThanMTU", "TestTapQueueFull",
	"TestUplink", "TestVethTurnsGROOff",
	"TestPrivilegeForVeths", "TestNIC",
	"TestLeastPrivilege", "TestLinuxBond",
	"TestTCPWithUnfinishedChecksums", "TestMachinesWithFinishedChecksums",
	"TestUnfinishedChecksums", "TestLargestFrames",
	"TestForeignProgram", "TestVethTurnsGROOffAndOn",
	"TestFlows", "TestFlowsOVN",
	"TestRules",
}

// measurements lists the end-to-end tests that are there for their figures: they
// run with -full.
var measurements = []string{"TestBondFailover", "TestRatesWithUnfinishedChecksums", "TestRatesFromTapsWithUnfinishedChecksums"}

// others returns those in anyVersion that are not the i-th of n kernels' turn, and
// measurements.
func others(i, n int) []string {
	names := slices.Clone(measurements)
	for j, name := range anyVersion {
		if j%n != i {
			names = append(names, name)
		}
	}
	return names
}

// guests matches those that start a machine of their own. In an emulated machine
// that takes minutes: the suite "vhost", by name.
const guests = "^TestGuest"

// elsewhere matches what the suite "e2e" leaves to others.
const elsewhere = anyKernel + "|" + guests

// hostSuites are those that a kernel's version matters little to. They run in a
// machine, by name, where this host can't run them itself (test/setup/check-host).
var hostSuites = []suite{
	{name: "dpflow", pkg: "ovs/dpflow", timeout: 10 * time.Minute},
	{name: "observe", pkg: "ovs/observe", timeout: 10 * time.Minute},
	{name: "ofctl", pkg: "ovs/ofctl", timeout: 10 * time.Minute},
	{name: "ovsdb", pkg: "ovs/ovsdb", timeout: 10 * time.Minute},
	{name: "lab", pkg: "test/lab", timeout: 10 * time.Minute},
	{name: "chaos", pkg: "test/chaos", timeout: 20 * time.Minute},
	{name: "rest", pkg: "test/e2e", timeout: 20 * time.Minute, args: []string{"-test.run=" + anyKernel}},
}

// vhost runs a virtual machine in the machine, whose cards its kernel serves.
var vhost = suite{name: "vhost", pkg: "test/e2e", timeout: 20 * time.Minute, args: []string{"-test.run=" + guests}}

// bench measures (make bench-kernels). It leaves its figures in the share.
var bench = suite{name: "bench", pkg: "test/bench/emulated", timeout: 20 * time.Minute, args: []string{"-figures=/run/kernels/" + figuresFile}}

const figuresFile = "figures.json"

// A skip is a test that may skip itself in a machine.
type skip struct{ suite, test, reason string }

// maySkip is all of them.
var maySkip = []skip{}

// findSuites returns the suites of these names, all when there are none.
func findSuites(names []string) ([]suite, error) {
	if len(names) == 0 {
		return suites, nil
	}
	var found []suite
	for _, name := range names {
		known := slices.Concat(suites, hostSuites, []suite{vhost, bench})
		i := slices.IndexFunc(known, func(s suite) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("find suite %s: there is none of that name", name)
		}
		found = append(found, known[i])
	}
	return found, nil
}

// build compiles the test binary into a folder.
func (s suite) build(ctx context.Context, repository, dir string) error {
	return goTool(ctx, repository, "test", "-c", "-o", filepath.Join(dir, s.name+".test"), "./"+s.pkg)
}

// buildTraffic compiles the program that a test's own machines run.
func buildTraffic(ctx context.Context, repository, file string) error {
	return goTool(ctx, repository, "build", "-trimpath", "-o", file, "./test/lab/traffic")
}

// goTool runs go for programs without shared libraries.
func goTool(ctx context.Context, repository string, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = repository
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// job returns the line of job.sh that runs the suite, without the tests in
// leave.
func (s suite) job(repository, run string, short bool, leave []string) string {
	words := []string{"suite", s.name, boot.Quote(filepath.Join(repository, s.pkg)),
		"-test.v=test2json", "-test.timeout=" + s.timeout.String()}
	for _, a := range s.args {
		words = append(words, boot.Quote(a))
	}
	if short {
		words = append(words, "-test.short")
	}
	skip := s.skip
	if s.deal && len(leave) > 0 {
		skip = strings.TrimPrefix(skip+"|^("+strings.Join(leave, "|")+")$", "|")
	}
	if skip != "" {
		words = append(words, boot.Quote("-test.skip="+skip))
	}
	if run != "" { // the last one counts
		words = append(words, boot.Quote("-test.run="+run))
	}
	return strings.Join(words, " ") + "\n"
}
