// SPDX-License-Identifier: Apache-2.0

// Package unixctl speaks the control-socket protocol of Open vSwitch daemons,
// from both ends: Client asks ovs-vswitchd what ovs-appctl would ask, and
// Server answers ovs-appctl in the place of one of our own daemons. The
// protocol is JSON-RPC 1.0, unframed on a unix stream: one request at a time,
// parameters that are always strings, a reply that is text (or, since Open
// vSwitch 3.4, JSON when the connection has asked for it).
//
// The package does not know any command of Open vSwitch and does not parse
// what a command prints; ovs/fdb and ovs/flow do that. It does not retry.
package unixctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// MaxReply is the size in bytes of the largest reply that Client reads.
	MaxReply = 64 << 20
	// DefaultTimeout bounds a call whose context has no deadline.
	DefaultTimeout = 5 * time.Second
)

// Client calls commands of the daemon that listens on a control socket. Each
// call has a connection of its own, so a Client may be used concurrently.
type Client struct {
	// Socket is the path of the daemon's control socket; DaemonSocket finds
	// it.
	Socket string
}

// CommandError is the error reply of a daemon: the command ran and failed, or
// there is no such command, or it has a wrong number of arguments.
type CommandError struct {
	// Method is the command.
	Method string
	// Text is what the daemon said, without its trailing newline.
	Text string
}

func (e *CommandError) Error() string { return e.Method + ": " + e.Text }

// Call runs a command and returns the text that it printed. An error reply is
// a *CommandError. A call without a deadline in ctx has DefaultTimeout.
func (c *Client) Call(ctx context.Context, method string, args ...string) (string, error) {
	text, err := exchange[string](ctx, c.Socket, []call{{method, args}})
	if err != nil {
		return "", fmt.Errorf("call %s on %s: %w", method, c.Socket, err)
	}
	return text, nil
}

// CallJSON runs a command after asking for JSON on the same connection, as
// "ovs-appctl -f json" does. Open vSwitch knows this since 3.4; an older
// daemon answers with a *CommandError whose Method is "set-options". A command
// that has no JSON form replies with the object
// {"reply-format": "plain", "reply": "its text"}.
func (c *Client) CallJSON(ctx context.Context, method string, args ...string) (json.RawMessage, error) {
	result, err := exchange[json.RawMessage](ctx, c.Socket, []call{{"set-options", []string{"--format", "json"}}, {method, args}})
	if err != nil {
		return nil, fmt.Errorf("call %s on %s for JSON: %w", method, c.Socket, err)
	}
	return result, nil
}

type call struct {
	method string
	args   []string
}

// exchange makes the calls one after the other on one connection to a socket and
// returns the result of the last, of the type T: it is read once, for fdb/show
// gives megabytes.
func exchange[T any](ctx context.Context, socket string, calls []call) (result T, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	if err := checkSocketPath(socket); err != nil {
		return result, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return result, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	bounded := &boundedReader{r: conn}
	dec := json.NewDecoder(bounded)
	for id, call := range calls {
		result, err = transact[T](conn, dec, bounded, id, call)
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

func transact[T any](w io.Writer, dec *json.Decoder, r *boundedReader, id int, c call) (none T, _ error) {
	args := c.args
	if args == nil {
		args = []string{} // null parameters make OVS drop the connection
	}
	text, err := marshal(map[string]any{"method": c.method, "params": args, "id": id})
	if err != nil {
		return none, fmt.Errorf("encode request: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return none, fmt.Errorf("send request: %w", err)
	}
	r.left = MaxReply
	result, errText, err := readReply[T](dec, id)
	switch {
	case errors.Is(err, errTooLarge):
		return none, fmt.Errorf("read reply: longer than %d bytes", MaxReply)
	case err != nil:
		return none, fmt.Errorf("read reply: %w", err)
	case errText != nil:
		return none, &CommandError{Method: c.method, Text: strings.TrimSuffix(*errText, "\n")}
	}
	return *result, nil
}

// readReply reads one reply: either a result or the text of an error. Open
// vSwitch before 3.4 leaves "result" out of an error reply.
func readReply[T any](dec *json.Decoder, id int) (result *T, errText *string, err error) {
	var reply struct {
		ID     json.RawMessage `json:"id"`
		Result *T              `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	switch err := dec.Decode(&reply); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, nil, fmt.Errorf("truncated: the daemon closed the connection: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return nil, nil, err
	}
	if string(reply.ID) != fmt.Sprint(id) {
		return nil, nil, fmt.Errorf("has id %s, want %d", reply.ID, id)
	}
	switch {
	case !isNull(reply.Error) && reply.Result != nil:
		return nil, nil, errors.New("has both a result and an error")
	case !isNull(reply.Error):
		var text string
		if json.Unmarshal(reply.Error, &text) != nil {
			text = string(reply.Error)
		}
		return nil, &text, nil
	case reply.Result == nil:
		return nil, nil, errors.New("has neither a result nor an error")
	}
	return reply.Result, nil, nil
}

func isNull(m json.RawMessage) bool { return len(m) == 0 || string(m) == "null" }
