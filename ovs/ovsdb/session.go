// SPDX-License-Identifier: Apache-2.0

// Package ovsdb reads the Open_vSwitch database: one Session a connection.
//
// A Session never reconnects. When the connection is gone, or the server does
// not answer a probe, Lost is closed, Err says why, and the caller throws the
// Session away and dials again with its own back-off. So a row that was read
// can never come from a server that has been replaced meanwhile.
//
// A Snapshot is one committed state of the database, not older than the call
// of Read.
//
// The package does not write to the database, knows no remote other than a
// local unix socket, and leaves Bridge.Detail to ovs/observe.
package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

const (
	dialTimeout   = 5 * time.Second // all of Dial
	readTimeout   = 5 * time.Second // all of Read
	probeInterval = time.Second
	probeTimeout  = 2 * time.Second
	closeTimeout  = 2 * time.Second // for libovsdb's goroutines to end
)

// NoticedWithin is how long it takes at most until Lost tells of a server that
// no longer answers: what was read before may be old since then.
const NoticedWithin = probeInterval + probeTimeout

// ErrClosed is what Err returns after Close.
var ErrClosed = errors.New("session closed")

// Session is one connection to the database server. Its methods may be called
// from several goroutines.
type Session struct {
	client client.Client
	cache  *cache.TableCache

	ctx     context.Context // ends with the session
	cancel  context.CancelFunc
	changed chan struct{}
	lost    chan struct{}
	done    chan struct{} // closed when nothing of the session is left

	mu  sync.Mutex
	err error
	// last is what was last read, and lastSnap its Snapshot.
	last     picture
	lastSnap *ovs.Snapshot
}

// Dial connects to endpoint, "unix:" and the absolute path of the server's
// socket, and starts to watch the database. It gives up after 5 seconds or
// when ctx ends, whichever is first; ctx has no effect on the Session later.
// A nil log discards.
func Dial(ctx context.Context, endpoint string, log *slog.Logger) (*Session, error) {
	path, ok := strings.CutPrefix(endpoint, "unix:")
	if !ok || !filepath.IsAbs(path) {
		return nil, fmt.Errorf("dial database: endpoint %q: want unix:/absolute/path", endpoint)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	s, err := dial(ctx, path, log)
	if err != nil {
		return nil, fmt.Errorf("dial database at %s: %w", endpoint, err)
	}
	return s, nil
}

func dial(ctx context.Context, path string, log *slog.Logger) (*Session, error) {
	schema, err := fetchSchema(ctx, path)
	if err != nil {
		return nil, err
	}
	rows, err := fitted(schema)
	if err != nil {
		return nil, err
	}
	m, err := clientModel(rows)
	if err != nil {
		return nil, err
	}
	c, gone, err := connect(ctx, m, path, log)
	if err != nil {
		return nil, err
	}
	s := &Session{
		client:  c,
		cache:   c.Cache(),
		changed: make(chan struct{}, 1),
		lost:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	if err := s.monitor(ctx, rows); err != nil {
		hangUp(c, gone)
		return nil, fmt.Errorf("monitor: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.watch(gone)
	return s, nil
}

// connect opens one connection. The channel it returns is closed when the
// connection is gone and libovsdb has cleaned up after it.
func connect(ctx context.Context, m model.ClientDBModel, path string, log *slog.Logger) (client.Client, <-chan struct{}, error) {
	endpoint := url.URL{Scheme: "unix", Path: path}
	logger := logr.FromSlogHandler(log.Handler())
	c, err := client.NewOVSDBClient(m, client.WithEndpoint(endpoint.String()), client.WithLogger(&logger))
	if err != nil {
		return nil, nil, err
	}
	// libovsdb tells of the loss only to those who listen at that moment:
	// start before Connect and do nothing else.
	notify, failed, gone := c.DisconnectNotify(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-notify:
		case <-failed:
		}
	}()
	if err := c.Connect(ctx); err != nil {
		close(failed)
		<-gone
		return nil, nil, err
	}
	return c, gone, nil
}

// hangUp closes the connection and waits for libovsdb's goroutines, but not
// forever: the notification can be lost.
func hangUp(c client.Client, gone <-chan struct{}) {
	c.Close()
	select {
	case <-gone:
	case <-time.After(closeTimeout):
	}
}

// monitor asks the server for changes and routes them all to s.changed.
func (s *Session) monitor(ctx context.Context, rows map[string]reflect.Type) error {
	if s.cache == nil { // lost again already
		return client.ErrNotConnected
	}
	s.cache.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc: func(string, model.Model) { s.touch() },
		UpdateFunc: func(table string, old, now model.Model) {
			if table != "Bridge" || !onlyPublished(old, now) {
				s.touch()
			}
		},
		DeleteFunc: func(string, model.Model) { s.touch() },
	})
	_, err := s.client.Monitor(ctx, monitorOf(rows))
	return err
}

func (s *Session) touch() {
	select {
	case s.changed <- struct{}{}:
	default: // a signal is waiting already
	}
}

// watch ends the session when the connection is gone, a probe fails or Close
// is called.
func (s *Session) watch(gone <-chan struct{}) {
	defer close(s.done)
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	var err error
	for err == nil {
		select {
		case <-s.ctx.Done():
			err = ErrClosed
		case <-gone:
			err = errors.New("connection to the database server lost")
		case <-tick.C:
			err = s.probe()
		}
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	close(s.lost)
	s.cancel() // ends Reads under way, for which hangUp would wait
	hangUp(s.client, gone)
}

func (s *Session) probe() error {
	ctx, cancel := context.WithTimeout(s.ctx, probeTimeout)
	defer cancel()
	err := s.client.Echo(ctx)
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("probe database server: %w", err)
	}
	return nil
}

// Changed receives a value after any row that Read looks at was added,
// changed or removed; several changes may give one value. It also fires once
// for the rows that were there when Dial connected.
func (s *Session) Changed() <-chan struct{} { return s.changed }

// Lost is closed when the session has ended: the connection is gone, the
// server did not answer a probe (every second, 2 seconds to answer), or
// Close was called.
func (s *Session) Lost() <-chan struct{} { return s.lost }

// Err says why the session ended, ErrClosed after Close; nil before Lost.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session and waits until no goroutine of it is left.
func (s *Session) Close() {
	s.cancel()
	<-s.done
}
