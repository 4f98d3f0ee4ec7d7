// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"
)

// Address is where metrics are served.
type Address struct {
	// Network is "tcp" or "unix", At an address with port or a path.
	Network, At string
}

// ParseAddress reads "unix:/path", "host:port", or a port alone, with or without
// a colon before it, which stands for one of 127.0.0.1.
func ParseAddress(s string) (Address, error) {
	fail := func(why string) (Address, error) {
		return Address{}, fmt.Errorf("address %q: %s: want 127.0.0.1:PORT, HOST:PORT or unix:/PATH", s, why)
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return fail("the path is not absolute")
		}
		return Address{"unix", path}, nil
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		s = ":" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fail("no port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fail("the port is not a number from 1 to 65535")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return Address{"tcp", net.JoinHostPort(host, port)}, nil
}

// Server serves metrics.
type Server struct {
	address Address
	http    *http.Server
	log     *slog.Logger
	stop    context.CancelFunc
	ended   chan struct{}
}

// handler answers /metrics; anything else is told where they are.
func handler(source Source, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(Collector{source}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ovs-xdpd: metrics are at /metrics") })
	return mux
}

// Serve begins to serve metrics. An address that is taken is an error; with wait
// set it is waited for instead, as long as it takes: another daemon has it, whose
// place this one takes.
func Serve(at Address, source Source, wait bool, log *slog.Logger) (*Server, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{address: at, log: log, stop: stop, ended: make(chan struct{}), http: &http.Server{
		Handler: handler(source, log), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	l, err := listen(at)
	if err != nil && !wait {
		stop()
		return nil, fmt.Errorf("serve metrics at %s: %w", at.At, err)
	}
	go func() {
		defer close(s.ended)
		if l == nil {
			l = s.await(ctx)
		}
		if l == nil {
			return
		}
		log.Info("metrics are served", "address", at.At)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "address", at.At, "error", err)
		}
	}()
	return s, nil
}

// await tries to listen until that succeeds or the server is closed.
func (s *Server) await(ctx context.Context) net.Listener {
	const often, patience = 100 * time.Millisecond, 10 * time.Second
	told := false
	for began := time.Now(); ; {
		l, err := listen(s.address)
		if err == nil {
			return l
		}
		if time.Since(began) > patience && !told {
			told = true
			s.log.Error("metrics are not served yet", "address", s.address.At, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(often):
		}
	}
}

// listen takes an address. A unix socket takes the place of what is at its path,
// if that is a socket: somebody's whose place is taken, or left behind.
func listen(at Address) (net.Listener, error) {
	if at.Network != "unix" {
		return net.Listen(at.Network, at.At)
	}
	if info, err := os.Lstat(at.At); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is there, and not a socket", at.At)
	}
	temporary := fmt.Sprintf("%s.%d", at.At, os.Getpid())
	_ = os.Remove(temporary)
	l, err := net.Listen("unix", temporary)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // by then another's may be there
	err = os.Chmod(temporary, 0o660)
	if err == nil {
		err = os.Rename(temporary, at.At)
	}
	if err != nil {
		return nil, errors.Join(err, u.Close(), os.Remove(temporary))
	}
	return &ownSocket{UnixListener: u, path: at.At, inode: inodeOf(at.At)}, nil
}

// ownSocket removes its path when it is closed, if it is still there.
type ownSocket struct {
	*net.UnixListener
	path  string
	inode uint64
}

// Close implements net.Listener.
func (s *ownSocket) Close() error {
	if inodeOf(s.path) == s.inode {
		_ = os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

func inodeOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// Close ends it; answers under way are cut off.
func (s *Server) Close() error {
	s.stop()
	err := s.http.Close()
	<-s.ended
	if err != nil {
		return fmt.Errorf("stop serving metrics: %w", err)
	}
	return nil
}
