// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// maxSchema bounds the server's answer, in bytes; the schema of OVS 3.1 has
// 35 kB.
const maxSchema = 4 << 20

// fetchSchema asks the server for the schema of the Open_vSwitch database
// (RFC 7047, section 4.1.2), on a connection of its own: libovsdb wants to know
// the columns before it connects.
func fetchSchema(ctx context.Context, path string) (ovsdb.DatabaseSchema, error) {
	var reply struct {
		Result ovsdb.DatabaseSchema `json:"result"`
		Error  any                  `json:"error"`
	}
	fail := func(err error) (ovsdb.DatabaseSchema, error) {
		return ovsdb.DatabaseSchema{}, fmt.Errorf("get schema: %w", err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(conn, `{"id":1,"method":"get_schema","params":["Open_vSwitch"]}`); err != nil {
		return fail(err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxSchema)).Decode(&reply); err != nil {
		return fail(errors.Join(ctx.Err(), err))
	}
	if reply.Error != nil {
		return fail(fmt.Errorf("the server says: %v", reply.Error))
	}
	return reply.Result, nil
}
