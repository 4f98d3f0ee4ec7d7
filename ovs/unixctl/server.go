// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Limits of a Server.
const (
	// MaxConnections is the number of connections served at once; further
	// ones wait in the listen queue.
	MaxConnections = 64
	// MaxRequest is the size in bytes of the largest request.
	MaxRequest = 1 << 20
	// IdleTimeout is how long a connection may take to send a request.
	IdleTimeout = 60 * time.Second

	writeTimeout = 10 * time.Second
	// stopGrace is how long Serve waits for running commands when it stops.
	stopGrace = 5 * time.Second
)

// Server answers ovs-appctl on a control socket. It offers the commands
// list-commands, version and set-options, and those that are registered.
// Anyone who may open the socket may run every command.
type Server struct {
	mu       sync.Mutex
	commands map[string]Command
	conns    map[net.Conn]bool
	listener *net.UnixListener
	stop     context.CancelFunc // of Serve
}

// NewServer returns a Server of the daemon name, whose command version prints
// the name and the version.
func NewServer(name, version string) *Server {
	s := &Server{commands: map[string]Command{}, conns: map[net.Conn]bool{}}
	s.Register(Command{Name: "list-commands", Run: func(context.Context, []string) (Reply, error) {
		return s.listCommands(), nil
	}})
	s.Register(Command{Name: "version", Run: func(context.Context, []string) (Reply, error) {
		return Reply{Text: name + " " + version}, nil
	}})
	// The session runs set-options, see Server.run.
	s.Register(Command{Name: "set-options", Usage: "[--format text|json]", MinArgs: 1, MaxArgs: 2})
	return s
}

// Register adds a command. It panics when the name is taken.
func (s *Server) Register(c Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.commands[c.Name]; ok {
		panic("unixctl: command " + c.Name + " registered twice")
	}
	s.commands[c.Name] = c
}

// Listen makes the control socket, with mode 0750 as OVS does: in effect only
// its owner may connect. A socket that nobody listens on any more is replaced;
// anything else at path is an error.
func (s *Server) Listen(path string) error {
	if err := s.listen(path); err != nil {
		return fmt.Errorf("listen on control socket %s: %w", path, err)
	}
	return nil
}

func (s *Server) listen(path string) error {
	if err := checkSocketPath(path); err != nil {
		return err
	}
	if err := removeStaleSocket(path); err != nil {
		return err
	}
	// On Linux the mode of the descriptor becomes that of the file, so the
	// socket never exists with a wider mode.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var modeErr error
		err := c.Control(func(fd uintptr) { modeErr = syscall.Fchmod(int(fd), 0o750) })
		return errors.Join(err, modeErr)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l.(*net.UnixListener)
	return nil
}

func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the path exists and is not a socket")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return errors.New("another process listens on it")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Serve answers requests on the socket that Listen made until ctx ends or
// Close is called, and then returns nil. Before it returns it lets running
// commands reply, for at most five seconds.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	l := s.listener
	s.stop = cancel
	s.mu.Unlock()
	if l == nil {
		return errors.New("serve control socket: not listening")
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()

	var running sync.WaitGroup
	err := s.accept(ctx, l, &running)
	cancel()
	drained := make(chan struct{})
	go func() { running.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(stopGrace):
		s.mu.Lock()
		for conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
	}
	return err
}

func (s *Server) accept(ctx context.Context, l net.Listener, running *sync.WaitGroup) error {
	slots := make(chan struct{}, MaxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
			<-slots
			time.Sleep(100 * time.Millisecond)
			continue
		case err != nil:
			return fmt.Errorf("serve control socket: %w", err)
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		running.Go(func() {
			s.converse(ctx, conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
			conn.Close()
			<-slots
		})
	}
}

// converse answers the requests of one connection until its client closes it,
// is idle for too long, or sends something that is not a request.
func (s *Server) converse(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	ctx = withPeer(ctx, conn)
	bounded := &boundedReader{r: conn}
	dec := json.NewDecoder(bounded)
	var se session
	for {
		conn.SetReadDeadline(time.Now().Add(IdleTimeout))
		if ctx.Err() != nil { // must follow SetReadDeadline, which may undo AfterFunc's
			return
		}
		bounded.left = MaxRequest
		r, err := readRequest(dec)
		if err != nil {
			return
		}
		message := map[string]any{"id": r.ID, "error": nil, "result": nil}
		reply, err := s.run(ctx, &se, r)
		if err == nil {
			message["result"] = se.result(reply)
		}
		text, encodeErr := marshal(message)
		if encodeErr != nil {
			err = fmt.Errorf(`"%s" command failed: encode reply: %w`, r.Method, encodeErr)
		}
		if err != nil {
			message["result"], message["error"] = nil, endLine(err.Error())
			text, _ = marshal(message)
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := conn.Write(text); err != nil {
			return
		}
	}
}

// Close stops listening, removes the socket and makes Serve return. It may be
// called again.
func (s *Server) Close() error {
	s.mu.Lock()
	l, stop := s.listener, s.stop
	s.listener = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	if l == nil {
		return nil
	}
	if err := l.Close(); err != nil { // also unlinks the path
		return fmt.Errorf("close control socket: %w", err)
	}
	return nil
}
