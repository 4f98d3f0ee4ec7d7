// SPDX-License-Identifier: Apache-2.0

package dpflow

// Reader reads one dump after the other, of one bridge. Most of a dump is as it was in
// the one before: of a flow whose match and actions are the same, letter by letter, it
// reads the counters alone. It keeps the text of the last one. It is not for several
// goroutines at a time.
type Reader struct {
	last map[string]known
}

// known is what was read of a line.
type known struct {
	actions string
	flow    Flow
}

// Parse is as the function Parse. Flows share what they had before: it must not be
// changed.
func (r *Reader) Parse(text string) ([]Flow, error) {
	next := make(map[string]known, len(r.last))
	flows, err := parse(text, r.last, next)
	if r.last = next; err != nil {
		r.last = nil
	}
	return flows, err
}
