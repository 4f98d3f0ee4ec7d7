// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The table stands in the README between these lines.
const (
	tableBegin = "<!-- begin: make bench-control -->\n"
	tableEnd   = "<!-- end: make bench-control -->\n"
)

// write writes the figures into a folder and a README, where these are given.
func (r *result) write(kinds []string, out, readme string) error {
	var errs []error
	if out != "" {
		doc, err := json.MarshalIndent(r, "", "  ")
		errs = append(errs, err,
			os.WriteFile(filepath.Join(out, "results.json"), append(doc, '\n'), 0o644),
			os.WriteFile(filepath.Join(out, "growth.svg"), []byte(plot(r, kinds)), 0o644))
	}
	if readme != "" {
		text, err := os.ReadFile(readme)
		if err == nil {
			if text, err = within(text, r.table(kinds)+"\n"+r.where()); err == nil {
				err = os.WriteFile(readme, text, 0o644)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write the figures into %s: %w", readme, err))
		}
	}
	return errors.Join(errs...)
}

// where says on what the figures were measured.
func (r *result) where() string {
	return fmt.Sprintf("Medians of %d cold starts; %s, Linux %s, %d CPUs, load %s before.\n", r.Rounds, r.OVS, r.Kernel, r.CPUs, r.Load)
}

// within puts a text between the marks of another.
func within(text []byte, part string) ([]byte, error) {
	before, rest, found := strings.Cut(string(text), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !found || !ends {
		return nil, fmt.Errorf("it lacks the lines %q and %q", tableBegin, tableEnd)
	}
	return []byte(before + tableBegin + part + tableEnd + after), nil
}
