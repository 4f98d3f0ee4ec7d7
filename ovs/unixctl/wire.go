// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

var errTooLarge = errors.New("message too large")

// boundedReader fails with errTooLarge once left bytes have been read. Whoever
// reads messages from it sets left anew before each.
type boundedReader struct {
	r    io.Reader
	left int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	if len(p) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

// maxSocketPath is the longest path that fits struct sockaddr_un with its
// terminating zero.
const maxSocketPath = 107

func checkSocketPath(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("socket path %s has %d bytes, the kernel takes %d", path, len(path), maxSocketPath)
	}
	return nil
}

// marshal is json.Marshal without HTML escapes and trailing newline.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// request is a JSON-RPC request of a client.
type request struct {
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
	ID     json.RawMessage   `json:"id"`
}

// readRequest reads one request. Anything else, a notification included, is an
// error after which the connection is of no use.
func readRequest(dec *json.Decoder) (request, error) {
	var r request
	if err := dec.Decode(&r); err != nil {
		return request{}, err
	}
	switch {
	case r.Method == "":
		return request{}, errors.New("request has no method")
	case r.Params == nil:
		return request{}, errors.New("request has no parameter array")
	case isNull(r.ID):
		return request{}, errors.New("request has no id")
	}
	return r, nil
}

// args returns the parameters, ok telling whether all of them are strings.
func (r request) args() (args []string, ok bool) {
	args = make([]string, len(r.Params))
	for i, p := range r.Params {
		if len(p) == 0 || p[0] != '"' || json.Unmarshal(p, &args[i]) != nil {
			return nil, false
		}
	}
	return args, true
}
