// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

const database = "Open_vSwitch"

// tables maps each table that is read to the struct of its rows.
var tables = map[string]reflect.Type{
	"Open_vSwitch":              reflect.TypeFor[switchRow](),
	"Bridge":                    reflect.TypeFor[bridgeRow](),
	"Port":                      reflect.TypeFor[portRow](),
	"Interface":                 reflect.TypeFor[interfaceRow](),
	"Mirror":                    reflect.TypeFor[mirrorRow](),
	"Controller":                reflect.TypeFor[controllerRow](),
	"Manager":                   reflect.TypeFor[managerRow](),
	"Flow_Sample_Collector_Set": reflect.TypeFor[flowSampleRow](),
}

// fitted returns tables without the columns that this server is allowed to
// lack. Any other difference is an error: a column that vanished may be one
// that keeps frames out of the fast path.
func fitted(schema ovsdb.DatabaseSchema) (map[string]reflect.Type, error) {
	if schema.Name != database {
		return nil, errors.New("connection lost before the schema was read")
	}
	fit := make(map[string]reflect.Type, len(tables))
	for table, row := range tables {
		ts := schema.Table(table)
		if ts == nil {
			return nil, fmt.Errorf("schema %s has no table %s", schema.Version, table)
		}
		fields, changed := reflect.VisibleFields(row), false
		for i, f := range fields {
			column := f.Tag.Get("ovsdb")
			if ts.Column(column) != nil {
				continue
			}
			if f.Tag.Get("since") == "" {
				return nil, fmt.Errorf("schema %s has no column %s:%s", schema.Version, table, column)
			}
			// libovsdb ignores untagged fields, and struct types that
			// differ only in tags convert to each other.
			fields[i].Tag, changed = "", true
		}
		if changed {
			row = reflect.StructOf(fields)
		}
		// libovsdb drops changes of a row, with only a line in the log, when
		// it lacks a column that the schema indexes.
		for _, column := range slices.Concat(ts.Indexes...) {
			if !slices.Contains(columnsOf(row), column) {
				return nil, fmt.Errorf("schema %s has an index on the unknown column %s:%s", schema.Version, table, column)
			}
		}
		fit[table] = row
	}
	return fit, nil
}

// columnsOf lists the database columns of a row type, but for _uuid.
func columnsOf(row reflect.Type) []string {
	var cs []string
	for i := range row.NumField() {
		if c := row.Field(i).Tag.Get("ovsdb"); c != "" && c != "_uuid" {
			cs = append(cs, c)
		}
	}
	return cs
}

// clientModel returns what libovsdb wants to know of the rows.
func clientModel(rows map[string]reflect.Type) (model.ClientDBModel, error) {
	models := make(map[string]model.Model, len(rows))
	for table, row := range rows {
		models[table] = reflect.New(row).Interface()
	}
	return model.NewClientDBModel(database, models)
}

// monitorOf asks for the columns of rows and no others.
//
// The method is monitor_cond and not monitor_cond_since, because libovsdb
// gives up the connection after a bad update only for the former; for the
// latter it goes on with a cache that no longer tells of changes.
func monitorOf(rows map[string]reflect.Type) *client.Monitor {
	m := &client.Monitor{Method: ovsdb.ConditionalMonitorRPC}
	for table, row := range rows {
		m.Tables = append(m.Tables, client.TableMonitor{Table: table, Fields: columnsOf(row)})
	}
	return m
}

// picture holds the rows of every table by UUID, as libovsdb has them. It
// never changes a row in place but replaces it, so the rows may be read at
// any time and must not be written to.
type picture map[string]map[string]model.Model

func picked(c *cache.TableCache) picture {
	p := make(picture, len(tables))
	for table := range tables {
		p[table] = c.Table(table).RowsShallow()
	}
	return p
}

func (p picture) equal(q picture) bool {
	return maps.EqualFunc(p, q, maps.Equal)
}

// rowsOf returns the rows of one table. T is the table's struct in tables;
// where the server lacks columns, the rows are of the fitted type.
func rowsOf[T any](p picture, table string) map[string]T {
	rows := make(map[string]T, len(p[table]))
	for uuid, m := range p[table] {
		row, ok := m.(*T)
		if !ok {
			row = reflect.ValueOf(m).Convert(reflect.TypeFor[*T]()).Interface().(*T)
		}
		rows[uuid] = *row
	}
	return rows
}
