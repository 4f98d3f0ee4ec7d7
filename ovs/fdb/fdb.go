// SPDX-License-Identifier: Apache-2.0

// Package fdb parses what ovs-vswitchd prints about the MAC learning table of
// a bridge: fdb/show as text and as JSON, and fdb/stats-show. The forms are
// those of ofproto/ofproto-dpif.c in Open vSwitch 2.13 to 4.0.
//
// The parsers are strict: a line that they don't understand makes the whole
// table an error, since a table with a hole in it would be taken for the truth.
// The package reads no socket; ovs/unixctl does.
package fdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Parse reads the text of "fdb/show BRIDGE":
//
//	 port  VLAN  MAC                Age
//	    1    10  52:54:00:12:34:56    7
//	LOCAL     0  52:54:00:12:34:57  static
//
// The first header word is "Port" since Open vSwitch 4.0, where a call for
// more than one bridge adds a column, which Parse refuses. The rows come back
// sorted by VLAN and MAC.
func Parse(text string) ([]ovs.FDBEntry, error) {
	var fields [5]string
	var entries []ovs.FDBEntry
	header, complete := false, false
	for n := 1; text != ""; n++ {
		var line string
		line, text, complete = strings.Cut(text, "\n")
		count := split(line, &fields)
		if !header {
			if count != 4 || !strings.EqualFold(fields[0], "port") || fields[1] != "VLAN" || fields[2] != "MAC" || fields[3] != "Age" {
				return nil, fmt.Errorf("parse fdb/show: line %d: %q is not the header", n, line)
			}
			header = true
			entries = make([]ovs.FDBEntry, 0, strings.Count(text, "\n"))
			continue
		}
		if count != 4 {
			return nil, fmt.Errorf("parse fdb/show: line %d: %q has not the columns port, VLAN, MAC, Age", n, line)
		}
		entry, err := parseRow(fields[:4])
		if err != nil {
			return nil, fmt.Errorf("parse fdb/show: line %d: %q: %w", n, line, err)
		}
		entries = append(entries, entry)
	}
	if !header {
		return nil, errors.New("parse fdb/show: no header")
	}
	if !complete {
		return nil, errors.New("parse fdb/show: the last line has no end")
	}
	if err := sortEntries(entries); err != nil {
		return nil, fmt.Errorf("parse fdb/show: %w", err)
	}
	return entries, nil
}

// split puts the blank-separated words of line into fields and returns their
// number, len(fields) when there are as many or more.
func split(line string, fields *[5]string) int {
	count, i := 0, 0
	for {
		for i < len(line) && line[i] == ' ' {
			i++
		}
		if i == len(line) || count == len(fields) {
			return count
		}
		start := i
		for i < len(line) && line[i] != ' ' {
			i++
		}
		fields[count] = line[start:i]
		count++
	}
}

// lastPort is the highest number of an ordinary port, just below OFPP_MAX of
// OpenFlow 1.0, which is how ovs-vswitchd counts inside.
const lastPort = 0xfeff

// localPort16 is OFPP_LOCAL of OpenFlow 1.0.
const localPort16 = 0xfffe

func parseRow(fields []string) (ovs.FDBEntry, error) {
	var e ovs.FDBEntry
	if fields[0] == "LOCAL" {
		e.OFPort = ovs.LocalPort
	} else {
		port, err := strconv.ParseUint(fields[0], 10, 16)
		if err != nil || port > lastPort {
			return e, fmt.Errorf("port %q is neither a port number nor LOCAL", fields[0])
		}
		e.OFPort = uint32(port)
	}
	var err error
	if e.VLAN, err = ovs.ParseVLAN(fields[1]); err != nil {
		return e, err
	}
	if e.MAC, err = ovs.ParseMAC(fields[2]); err != nil {
		return e, err
	}
	if fields[3] == "static" {
		e.Static = true
		return e, nil
	}
	age, err := strconv.ParseUint(fields[3], 10, 31)
	if err != nil {
		return e, fmt.Errorf("age %q is neither a number of seconds nor static", fields[3])
	}
	e.Age = int(age)
	return e, nil
}

// sortEntries sorts by VLAN and MAC, the key of the table, and refuses a key
// that is there twice.
func sortEntries(entries []ovs.FDBEntry) error {
	key := func(e *ovs.FDBEntry) uint64 { return uint64(e.VLAN)<<48 | e.MAC.Number() }
	ovs.SortBy(entries, key)
	for i := 1; i < len(entries); i++ {
		if key(&entries[i-1]) == key(&entries[i]) {
			return fmt.Errorf("%s is there twice on VLAN %d", entries[i].MAC, entries[i].VLAN)
		}
	}
	return nil
}

// ParseJSON reads the JSON result of "fdb/show BRIDGE": in Open vSwitch 3.6
// and 3.7 an array of rows, since 4.0 an object that maps the bridge's name to
// that array. A row is {"port": 1, "vlan": 10, "mac": "52:…", "age": 7}, or
// has "static": true in the place of "age". Port 65534 is LOCAL. The form of 4.0
// is read from its source; that of 3.6 and 3.7 follows from the release notes of
// 4.0. The rows come back sorted as by Parse.
func ParseJSON(result []byte, bridge string) ([]ovs.FDBEntry, error) {
	entries, err := parseJSON(result, bridge)
	if err != nil {
		return nil, fmt.Errorf("parse fdb/show of %s: %w", bridge, err)
	}
	return entries, nil
}

func parseJSON(result []byte, bridge string) ([]ovs.FDBEntry, error) {
	if result = bytes.TrimSpace(result); len(result) > 0 && result[0] == '{' {
		var bridges map[string]json.RawMessage
		if err := json.Unmarshal(result, &bridges); err != nil {
			return nil, err
		}
		if len(bridges) != 1 || bridges[bridge] == nil {
			return nil, errors.New("the reply is not about that bridge alone")
		}
		result = bridges[bridge]
	}
	var rows []struct {
		Port   *uint16   `json:"port"`
		VLAN   *ovs.VLAN `json:"vlan"`
		MAC    *ovs.MAC  `json:"mac"`
		Age    *int32    `json:"age"`
		Static bool      `json:"static"`
	}
	dec := json.NewDecoder(bytes.NewReader(result))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rows); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("the reply goes on after the table")
	}
	if rows == nil {
		return nil, errors.New("the table is null")
	}
	entries := make([]ovs.FDBEntry, 0, len(rows))
	for i, r := range rows {
		switch {
		case r.Port == nil || r.VLAN == nil || r.MAC == nil || (r.Age == nil) != r.Static:
			return nil, fmt.Errorf("row %d has not port, vlan, mac and either age or static", i)
		case *r.VLAN > ovs.MaxVLAN:
			return nil, fmt.Errorf("row %d: VLAN %d", i, *r.VLAN)
		case r.Age != nil && *r.Age < 0:
			return nil, fmt.Errorf("row %d: age %d", i, *r.Age)
		}
		e := ovs.FDBEntry{OFPort: uint32(*r.Port), VLAN: *r.VLAN, MAC: *r.MAC, Static: r.Static}
		switch {
		case *r.Port == localPort16:
			e.OFPort = ovs.LocalPort
		case *r.Port > lastPort:
			return nil, fmt.Errorf("row %d: port %d", i, *r.Port)
		}
		if r.Age != nil {
			e.Age = int(*r.Age)
		}
		entries = append(entries, e)
	}
	return entries, sortEntries(entries)
}
