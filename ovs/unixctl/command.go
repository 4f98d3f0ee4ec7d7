// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
)

// Command is a command that a Server offers.
type Command struct {
	// Name is what the client calls, as "fdb/show".
	Name string
	// Usage describes the arguments in list-commands, as "bridge [port]".
	Usage string
	// MinArgs and MaxArgs bound the number of arguments; a MaxArgs of -1
	// means any number.
	MinArgs, MaxArgs int
	// Run does the command. It is called on several goroutines at once, and
	// ctx ends when the server stops. The text of its error, or of its panic,
	// becomes the error reply.
	Run func(ctx context.Context, args []string) (Reply, error)
}

// Reply is the result of a command.
type Reply struct {
	// Text is the result for people; the final newline is added if missing.
	Text string
	// JSON, if not nil, is marshaled for a connection that has asked for JSON
	// with set-options. Without it such a connection gets the text, wrapped
	// as Open vSwitch does: {"reply-format": "plain", "reply": text}.
	JSON any
}

// session is what a connection has set with set-options.
type session struct{ json bool }

// result returns the value of "result" in the reply message.
func (s *session) result(r Reply) any {
	switch {
	case !s.json:
		return endLine(r.Text)
	case r.JSON != nil:
		return r.JSON
	default:
		return map[string]string{"reply-format": "plain", "reply": r.Text}
	}
}

// endLine adds the newline that ovs-appctl before 3.4 expects of the server.
func endLine(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// setOptions is the command set-options. Its errors read like those of
// ovs_cmdl_parse_all in lib/command-line.c.
func (s *session) setOptions(args []string) (Reply, error) {
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(args[i], "=")
		if name != "--format" {
			return Reply{}, fmt.Errorf("unrecognized option '%s'", args[i])
		}
		if !hasValue {
			if i++; i == len(args) {
				return Reply{}, fmt.Errorf("option '%s' requires an argument", name)
			}
			value = args[i]
		}
		switch strings.ToLower(value) {
		case "text":
			s.json = false
		case "json":
			s.json = true
		default:
			return Reply{}, fmt.Errorf("option format has invalid value %s", value)
		}
	}
	return Reply{}, nil
}

// listCommands is the command list-commands.
func (s *Server) listCommands() Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	usages := map[string]string{}
	var names []string
	for name, c := range s.commands {
		usages[name] = c.Usage
		names = append(names, name)
	}
	slices.Sort(names)
	var text strings.Builder
	text.WriteString("The available commands are:\n")
	for _, name := range names {
		fmt.Fprintf(&text, "  %-23s %s\n", name, usages[name])
	}
	return Reply{Text: text.String(), JSON: usages}
}

// run does one request. Its errors read like those of process_command in
// lib/unixctl.c.
func (s *Server) run(ctx context.Context, se *session, r request) (Reply, error) {
	s.mu.Lock()
	c, ok := s.commands[r.Method]
	s.mu.Unlock()
	switch {
	case !ok:
		return Reply{}, fmt.Errorf(`"%s" is not a valid command (use "list-commands" to see a list of valid commands)`, r.Method)
	case len(r.Params) < c.MinArgs:
		return Reply{}, fmt.Errorf(`"%s" command requires at least %d arguments`, r.Method, c.MinArgs)
	case c.MaxArgs >= 0 && len(r.Params) > c.MaxArgs:
		return Reply{}, fmt.Errorf(`"%s" command takes at most %d arguments`, r.Method, c.MaxArgs)
	}
	args, ok := r.args()
	if !ok {
		return Reply{}, fmt.Errorf(`"%s" command has non-string argument`, r.Method)
	}
	if r.Method == "set-options" {
		return se.setOptions(args)
	}
	return guard(ctx, c, args)
}

// guard turns a panic of a command into an error, so that one broken command
// does not take the data path down with the daemon.
func guard(ctx context.Context, c Command, args []string) (reply Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("command panicked", "command", c.Name, "panic", p, "stack", string(debug.Stack()))
			reply, err = Reply{}, fmt.Errorf(`"%s" command failed: panic: %v`, c.Name, p)
		}
	}()
	return c.Run(ctx, args)
}
