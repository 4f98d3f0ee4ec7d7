// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mark begins a line that guest.sh or a test binary means for the harness (go
// doc test2json). It may come in the middle of a line that wasn't ended.
const mark = 0x16

// report reads what a machine tells through the port of the harness.
type report struct {
	text io.Writer // gets what the suites print, line by line
	// release is the kernel's, "" before the machine was ready; failed is
	// what the machine lacked to get ready. done tells that all suites came to
	// their ends.
	release, failed string
	done            bool
	suites          []suiteReport

	partial []byte // of a line
	marked  bool   // partial began with a mark
}

// suiteReport is what came of one suite. The names are of top-level tests.
type suiteReport struct {
	name                    string
	passed, failed, skipped []string
	again                   []string // of passed: only when run again
	unfinished              string   // the test that ran last, while it has not ended
	code                    int      // of the process; -1 when it did not end
	began                   time.Time
	took                    time.Duration
}

// Write takes the next bytes.
func (r *report) Write(p []byte) (int, error) {
	for _, b := range p {
		switch b {
		case mark:
			if len(r.partial) > 0 {
				r.line()
			}
			r.marked = true
		case '\n':
			r.line()
		default:
			r.partial = append(r.partial, b)
		}
	}
	return len(p), nil
}

func (r *report) line() {
	line, marked := string(bytes.TrimRight(r.partial, "\r")), r.marked
	r.partial, r.marked = nil, false
	if marked && !r.marker(line) {
		return
	}
	_, _ = io.WriteString(r.text, line+"\n")
}

// marker takes a marked line and tells whether it is worth printing.
func (r *report) marker(line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "ready":
		r.release = rest
		return false
	case "failed":
		r.failed = rest
		return false
	case "done":
		r.done = true
		return false
	case "suite":
		r.suites = append(r.suites, suiteReport{name: rest, code: -1, began: time.Now()})
		return false
	}
	if len(r.suites) == 0 {
		return true
	}
	s := &r.suites[len(r.suites)-1]
	switch word {
	case "code":
		if code, err := strconv.Atoi(rest); err == nil {
			s.code, s.took = code, time.Since(s.began)
		}
		return false
	case "===":
		// "=== RUN   TestName", and PAUSE, CONT, NAME.
		if f := strings.Fields(rest); len(f) == 2 && f[0] == "RUN" && !strings.Contains(f[1], "/") {
			s.unfinished = f[1]
		}
		return false
	case "---":
		s.result(rest)
	}
	return true
}

// result takes "PASS: TestName (0.01s)". Those of subtests are indented, so
// that "---" isn't their first word, or have a slash in their names.
func (s *suiteReport) result(text string) {
	f := strings.Fields(text)
	if len(f) < 2 || strings.Contains(f[1], "/") {
		return
	}
	all := map[string]*[]string{"PASS:": &s.passed, "FAIL:": &s.failed, "SKIP:": &s.skipped}[f[0]]
	if all == nil {
		return
	}
	*all = append(*all, f[1])
	if s.unfinished == f[1] {
		s.unfinished = ""
	}
}

// secondTry takes what came of the tests that failed when they ran again.
func (s *suiteReport) secondTry(t suiteReport) {
	var failed []string
	for _, name := range s.failed {
		if slices.Contains(t.passed, name) {
			s.passed, s.again = append(s.passed, name), append(s.again, name)
		} else {
			failed = append(failed, name)
		}
	}
	s.failed = failed
	s.took += t.took
	if len(failed) == 0 {
		s.code = t.code
	}
}

// problems returns what is wrong with a suite, nothing when all is well. all
// says that no test was left out on purpose.
func (s *suiteReport) problems(all bool) []string {
	var p []string
	if len(s.failed) > 0 {
		p = append(p, "failed: "+strings.Join(s.failed, " "))
	}
	for _, name := range s.skipped {
		if !slices.ContainsFunc(maySkip, func(m skip) bool { return m.suite == s.name && m.test == name }) {
			p = append(p, "skipped without leave: "+name)
		}
	}
	if s.unfinished != "" {
		p = append(p, "did not end: "+s.unfinished)
	}
	switch {
	case s.code == -1:
		p = append(p, "the suite did not end")
	case s.code != 0 && len(s.failed) == 0:
		p = append(p, "exit code "+strconv.Itoa(s.code))
	case all && len(s.passed) == 0 && len(s.failed) == 0:
		p = append(p, "no test ran")
	}
	return p
}
