// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answerWith accepts connections on a new socket and writes reply to each
// after its first bytes have come in; a nil reply leaves the client waiting.
func answerWith(t *testing.T, reply io.Reader) *Client {
	t.Helper()
	path := filepath.Join(shortDir(t), "ctl")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Read(make([]byte, 1024))
		if reply == nil {
			t.Cleanup(func() { conn.Close() })
			return
		}
		io.Copy(conn, reply)
		conn.Close()
	}()
	return &Client{Socket: path}
}

type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte{byte(r)}, len(p)))
	return len(p), nil
}

func TestCallRefusesBadReplies(t *testing.T) {
	for name, tt := range map[string]struct {
		reply io.Reader
		want  string
	}{
		"empty":               {strings.NewReader(""), "truncated"},
		"truncated":           {strings.NewReader(`{"id":0,"error":null,"result":"half`), "truncated"},
		"malformed":           {strings.NewReader(`}`), "invalid character"},
		"other id":            {strings.NewReader(`{"id":9,"error":null,"result":"x"}`), "has id 9, want 0"},
		"result and error":    {strings.NewReader(`{"id":0,"error":"e","result":"x"}`), "both a result and an error"},
		"nothing":             {strings.NewReader(`{"id":0,"error":null}`), "neither a result nor an error"},
		"result not a string": {strings.NewReader(`{"id":0,"error":null,"result":{}}`), "cannot unmarshal"},
		"error not a string":  {strings.NewReader(`{"id":0,"error":{"a":1}}`), `{"a":1}`},
		"too large":           {io.MultiReader(strings.NewReader(`{"id":0,"error":null,"result":"`), repeat('x')), "longer than 67108864 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := answerWith(t, tt.reply).Call(ctx, "fdb/show", "br0")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "call fdb/show on ") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestCallDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := answerWith(t, nil).Call(ctx, "version"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline", err)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte(`{"id":0,"error":null,"result":"text"}`))
	f.Add([]byte(`{"error":"no such bridge\n","id":0}`))
	f.Add([]byte(`{"id":0,"error":null,"result":[{"age":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		result, errText, err := readReply[json.RawMessage](json.NewDecoder(bytes.NewReader(b)), 0)
		if err == nil && (errText == nil) == (result == nil) {
			t.Errorf("result %v and error %v", result, errText)
		}
	})
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"method":"echo","params":["a"],"id":1}`))
	f.Add([]byte(`{"method":"echo","params":[1,null,"\ud800"],"id":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRequest(json.NewDecoder(bytes.NewReader(b)))
		if err != nil {
			return
		}
		if args, ok := r.args(); ok && len(args) != len(r.Params) {
			t.Errorf("%d arguments of %d parameters", len(args), len(r.Params))
		}
	})
}
