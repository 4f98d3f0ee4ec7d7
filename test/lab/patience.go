// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// Patience is how many times longer than usual tests wait on this machine:
// OVS_XDP_PATIENCE, 1 by default. Emulated machines set it.
var Patience = sync.OnceValue(func() time.Duration {
	n, err := strconv.Atoi(os.Getenv("OVS_XDP_PATIENCE"))
	if err != nil || n < 1 {
		return 1
	}
	return time.Duration(n)
})
