// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The matrix stands in the README between these lines.
const (
	matrixBegin = "<!-- begin: make matrix -->\n"
	matrixEnd   = "<!-- end: make matrix -->\n"
)

// matrix makes the table of what the tests saw working, a column for each
// kernel, in Markdown.
func matrix(results []result) string {
	seen := make(map[string][]bool)
	for i := range results {
		for _, what := range results[i].saw {
			if seen[what] == nil {
				seen[what] = make([]bool, len(results))
			}
			seen[what][i] = true
		}
	}
	var b strings.Builder
	b.WriteString("| on the lane, kernel datapath |")
	for _, r := range results {
		fmt.Fprintf(&b, " %s |", strings.TrimSuffix(r.kernel.Release, "-amd64"))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(results)) + "\n")
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		fmt.Fprintf(&b, "| %s |", what)
		for _, yes := range seen[what] {
			b.WriteString(map[bool]string{true: " yes |", false: " no |"}[yes])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// putMatrix writes the table into the README.
func putMatrix(repository, table string) error {
	name := filepath.Join(repository, "README.md")
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("write the matrix: %w", err)
	}
	before, rest, found := strings.Cut(string(b), matrixBegin)
	_, after, ends := strings.Cut(rest, matrixEnd)
	if !found || !ends {
		return fmt.Errorf("write the matrix: %s lacks the lines %q and %q", name, matrixBegin, matrixEnd)
	}
	if err := os.WriteFile(name, []byte(before+matrixBegin+table+matrixEnd+after), 0o644); err != nil {
		return fmt.Errorf("write the matrix: %w", err)
	}
	return nil
}
