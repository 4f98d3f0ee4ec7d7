// SPDX-License-Identifier: Apache-2.0

package reconcile

import "time"

// budget bounds how much of the time is spent on looks that nothing but stations
// ask for: one in budgetShare, so that a flood of sources costs a fifth of a core at
// most, but for budgetBurst at once, so that one station need not wait for the sake
// of another.
type budget struct {
	spent time.Duration // and not made up for
	at    time.Time     // when that was so
}

const (
	budgetShare = 5
	budgetBurst = 200 * time.Millisecond
	// budgetDebt bounds what is to be made up for: no look waits for longer than five
	// seconds, however long one has taken on a machine that was busy.
	budgetDebt = time.Second
)

// spend takes a look that took so long and ended then.
func (b *budget) spend(took time.Duration, ended time.Time) {
	b.spent = min(max(b.spent-ended.Sub(b.at)/budgetShare, 0)+took, budgetBurst+budgetDebt)
	b.at = ended
}

// free is when the next look may be.
func (b *budget) free() time.Time {
	return b.at.Add(budgetShare * max(b.spent-budgetBurst, 0))
}
