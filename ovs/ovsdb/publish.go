// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// PublishedPrefix begins the keys in Bridge:external_ids that Publish writes. They
// are no part of a Snapshot, and Changed does not tell of them: who reads bridges is
// not disturbed by what is written about them.
const PublishedPrefix = "xdp-status"

// Publish writes keys into external_ids of bridges, by Bridge:name, in one
// transaction; of those that begin with PublishedPrefix none but these remain. A
// bridge that is not there is no error. rundir is that of ovsdb-server's db.sock.
func Publish(ctx context.Context, rundir string, bridges map[string]map[string]string) error {
	if len(bridges) == 0 {
		return nil
	}
	var ops []ovsdb.Operation
	for _, name := range slices.Sorted(maps.Keys(bridges)) {
		op, err := publish(name, bridges[name])
		if err != nil {
			return fmt.Errorf("publish status: %w", err)
		}
		ops = append(ops, op)
	}
	if err := transact(ctx, rundir+"/db.sock", ops); err != nil {
		return fmt.Errorf("publish status: %w", err)
	}
	return nil
}

// PublishedKeys are all that are ever written.
var PublishedKeys = []string{PublishedPrefix, PublishedPrefix + "-share", PublishedPrefix + "-lost", PublishedPrefix + "-version", PublishedPrefix + "-at"}

func publish(bridge string, keys map[string]string) (ovsdb.Operation, error) {
	for key := range keys {
		if !slices.Contains(PublishedKeys, key) {
			return ovsdb.Operation{}, fmt.Errorf("key %q is not one of PublishedKeys", key)
		}
	}
	old, err := ovsdb.NewOvsSet(PublishedKeys)
	if err != nil {
		return ovsdb.Operation{}, err
	}
	now, err := ovsdb.NewOvsMap(keys)
	if err != nil {
		return ovsdb.Operation{}, err
	}
	return ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: "Bridge",
		Where: []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, bridge)},
		Mutations: []ovsdb.Mutation{
			*ovsdb.NewMutation("external_ids", ovsdb.MutateOperationDelete, old),
			*ovsdb.NewMutation("external_ids", ovsdb.MutateOperationInsert, now),
		},
	}, nil
}

// transact runs one transaction (RFC 7047, section 4.1.3) on a connection of its
// own, so that it disturbs no session.
func transact(ctx context.Context, path string, ops []ovsdb.Operation) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	request := map[string]any{"id": 1, "method": "transact", "params": ovsdb.NewTransactArgs(database, ops...)}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	var reply struct {
		Result []*struct {
			Error   string `json:"error"`
			Details string `json:"details"`
		} `json:"result"`
		Error any `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxSchema)).Decode(&reply); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if reply.Error != nil {
		return fmt.Errorf("the server says: %v", reply.Error)
	}
	for _, r := range reply.Result {
		if r != nil && r.Error != "" {
			return fmt.Errorf("the server says: %s: %s", r.Error, r.Details)
		}
	}
	return nil
}

// withoutPublished returns external_ids without what Publish writes there.
func withoutPublished(ids map[string]string) map[string]string {
	left := maps.Clone(ids)
	maps.DeleteFunc(left, func(key, _ string) bool { return strings.HasPrefix(key, PublishedPrefix) })
	return left
}

// onlyPublished tells whether two rows of Bridge differ in nothing but what Publish
// writes.
func onlyPublished(old, now model.Model) bool {
	a, b := bridgeOf(old), bridgeOf(now)
	a.ExternalIDs, b.ExternalIDs = withoutPublished(a.ExternalIDs), withoutPublished(b.ExternalIDs)
	return reflect.DeepEqual(a, b)
}

// bridgeOf reads a row that may be of a fitted type.
func bridgeOf(m model.Model) bridgeRow {
	if row, ok := m.(*bridgeRow); ok {
		return *row
	}
	return *reflect.ValueOf(m).Convert(reflect.TypeFor[*bridgeRow]()).Interface().(*bridgeRow)
}
