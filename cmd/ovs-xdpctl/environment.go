// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// environment is what commands run in.
type environment struct {
	ctx            context.Context
	stdout, stderr io.Writer
	colours        bool
	json           bool
	commands       commands
}

// client finds the daemon's control socket.
func (e *environment) client() (*unixctl.Client, error) {
	socket, _, err := unixctl.DaemonSocket(unixctl.Rundir(), "ovs-xdpd")
	if err != nil {
		return nil, fmt.Errorf("%w (is ovs-xdpd started? OVS_RUNDIR is %s)", err, unixctl.Rundir())
	}
	return &unixctl.Client{Socket: socket}, nil
}

// ask returns the daemon's answer as JSON.
func (e *environment) ask(method string, args ...string) (json.RawMessage, error) {
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	reply, err := client.CallJSON(e.ctx, method, args...)
	return reply, said(err)
}

// said makes an error of a call that people can read, and whose exit code tells a
// daemon that refuses from one that does not answer.
func said(err error) error {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*unixctl.CommandError](err); ok {
		return errors.New(refusal.Text) // the path of the socket does not help
	}
	return failure{exitNoAnswer, fmt.Errorf("ovs-xdpd runs, but does not answer (ovs-xdpctl detach helps when it hangs): %w", err)}
}

// show prints the daemon's answer, in its own words or as JSON.
func (e *environment) show(method string, args ...string) error {
	if e.json {
		reply, err := e.ask(method, args...)
		if err == nil {
			err = e.print(reply)
		}
		return err
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	text, err := client.Call(e.ctx, method, args...)
	if err == nil {
		e.write(text)
	}
	return said(err)
}

// print prints a document as JSON for people, too.
func (e *environment) print(document any) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	pretty.WriteByte('\n')
	_, err = pretty.WriteTo(e.stdout)
	return err
}

// write prints a text, with colours on a terminal.
func (e *environment) write(text string) {
	if e.colours {
		text = paint(text)
	}
	fmt.Fprintf(e.stdout, "%s", text)
}

// colours tells whether a file is a terminal whose user wants colours
// (https://no-color.org).
func colours(f *os.File) bool {
	return isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// painted are the words that matter in texts, and their colours (ECMA-48).
var painted = []struct {
	words  *regexp.Regexp
	colour string
}{
	{regexp.MustCompile(`lane open|(?m)^ok `), "32"},
	{regexp.MustCompile(`lane closed|error, so off:|(?m)^problem `), "31"},
	{regexp.MustCompile(`: refused|\d+ frames lost on the lane|(?m)^warning `), "33"},
}

func paint(text string) string {
	for _, p := range painted {
		text = p.words.ReplaceAllString(text, "\x1b["+p.colour+"m$0\x1b[0m")
	}
	return text
}
