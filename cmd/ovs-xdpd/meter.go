// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/ovs-xdp/ovs-xdp/sync/metrics"
)

// meter serves metrics, when it is asked to, as long as this daemon is in charge.
type meter struct {
	address *metrics.Address // nil: nowhere
	log     *slog.Logger

	mu     sync.Mutex
	source metrics.Source
	waits  bool // until this daemon is in charge
	closed bool
	server *metrics.Server
}

func newMeter(listen string, log *slog.Logger) (*meter, error) {
	m := &meter{log: log}
	if listen == "" {
		return m, nil
	}
	at, err := metrics.ParseAddress(listen)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen: %w", err)
	}
	m.address = &at
	return m, nil
}

// start begins to serve; a daemon that takes over begins when it is in charge, for
// until then the other one serves.
func (m *meter) start(source metrics.Source, takesOver bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.source, m.waits = source, takesOver
	if m.address == nil || takesOver {
		return nil
	}
	var err error
	m.server, err = metrics.Serve(*m.address, source, false, m.log)
	return err
}

// inCharge tells that this daemon is.
func (m *meter) inCharge() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.address == nil || !m.waits || m.closed {
		return nil
	}
	var err error
	m.server, err = metrics.Serve(*m.address, m.source, true, m.log)
	return err
}

func (m *meter) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.server == nil {
		return nil
	}
	return m.server.Close()
}
