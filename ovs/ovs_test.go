// SPDX-License-Identifier: Apache-2.0

package ovs

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseMAC(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want MAC
		bad  string // what the error must say; "" for none
	}{
		{in: "52:54:00:12:34:56", want: MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}},
		{in: "FF:fF:Ff:ff:ff:ff", want: MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{in: "00:00:00:00:00:00"},
		{in: "", bad: "six octets"},
		{in: "52:54:00:12:34", bad: "six octets"},
		{in: "52:54:00:12:34:56:78", bad: "six octets"},
		{in: "52-54-00-12-34-56", bad: "six octets"},
		{in: "525400123456", bad: "six octets"},
		{in: "5254.0012.3456.00", bad: "six octets"},
		{in: "52:54:00:12:34:5g", bad: "octet 6 is not hexadecimal"},
		{in: "5:254:00:12:34:56", bad: "octet 1 is not hexadecimal"},
		{in: "+2:54:00:12:34:56", bad: "octet 1 is not hexadecimal"},
		{in: " 2:54:00:12:34:56", bad: "octet 1 is not hexadecimal"},
		{in: "52:54:00:12:34:56 ", bad: "six octets"},
		{in: "é:54:00:12:34:56", bad: "octet 1 is not hexadecimal"},
	} {
		got, err := ParseMAC(tt.in)
		switch {
		case tt.bad == "" && err != nil:
			t.Errorf("ParseMAC(%q): %v", tt.in, err)
		case tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad)):
			t.Errorf("ParseMAC(%q) = %v, %v; want an error with %q", tt.in, got, err, tt.bad)
		case got != tt.want:
			t.Errorf("ParseMAC(%q) = %v, want %v", tt.in, got, tt.want)
		case err == nil && got.String() != strings.ToLower(tt.in):
			t.Errorf("ParseMAC(%q).String() = %q", tt.in, got)
		}
	}
}

func TestMACKinds(t *testing.T) {
	for _, tt := range []struct {
		mac         string
		group, zero bool
	}{
		{mac: "00:00:00:00:00:00", zero: true},
		{mac: "52:54:00:00:00:01"},
		{mac: "02:00:00:00:00:00"},
		{mac: "00:00:00:00:00:01"},
		{mac: "01:00:5e:00:00:01", group: true},
		{mac: "33:33:00:00:00:01", group: true},
		{mac: "ff:ff:ff:ff:ff:ff", group: true},
	} {
		m, err := ParseMAC(tt.mac)
		if err != nil {
			t.Fatal(err)
		}
		if m.IsGroup() != tt.group || m.IsZero() != tt.zero {
			t.Errorf("%s: group %v, zero %v", tt.mac, m.IsGroup(), m.IsZero())
		}
	}
}

func TestMACText(t *testing.T) {
	in := map[MAC]FDBEntry{{0x52, 5: 1}: {OFPort: 3, VLAN: 10, MAC: MAC{0x52, 5: 1}}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"MAC":"52:00:00:00:00:01"`) {
		t.Errorf("as JSON: %s", text)
	}
	var out map[MAC]FDBEntry
	if err := json.Unmarshal(text, &out); err != nil || out[MAC{0x52, 5: 1}] != in[MAC{0x52, 5: 1}] {
		t.Errorf("back from JSON: %v, %v", out, err)
	}
	m := MAC{1, 2, 3, 4, 5, 6}
	if err := m.UnmarshalText([]byte("junk")); err == nil || m != (MAC{1, 2, 3, 4, 5, 6}) {
		t.Errorf("UnmarshalText(junk): %v, and the address became %v", err, m)
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("52:54:00:12:34:56")
	f.Add("FF:FF:FF:FF:FF:FF")
	f.Add("52:54:00:12:34:5")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			if m != (MAC{}) {
				t.Errorf("ParseMAC(%q) failed with the address %v", s, m)
			}
			return
		}
		if m.String() != strings.ToLower(s) {
			t.Errorf("ParseMAC(%q) = %v", s, m)
		}
	})
}

func TestParseVLAN(t *testing.T) {
	for in, want := range map[string]int{
		"0": 0, "1": 1, "4095": 4095, "010": 10,
		"": -1, "4096": -1, "65536": -1, "-1": -1, "+1": -1, "0x10": -1, "1_0": -1, " 1": -1, "ten": -1, "1.0": -1,
	} {
		got, err := ParseVLAN(in)
		if (err != nil) != (want < 0) || err == nil && int(got) != want {
			t.Errorf("ParseVLAN(%q) = %d, %v", in, got, err)
		}
	}
}

func TestParseVLANSet(t *testing.T) {
	for _, tt := range []struct{ in, want, bad string }{
		{in: "10", want: "10"},
		{in: "10,20-29", want: "10,20-29"},
		{in: " 10 , 20 - 29 ", want: "10,20-29"},
		{in: "20-29,10", want: "10,20-29"},
		{in: "10,11,12,14", want: "10-12,14"},
		{in: "10-20,15-25", want: "10-25"},
		{in: "7-7", want: "7"},
		{in: "0-4095", want: "0-4095"},
		{in: "4095,0", want: "0,4095"},
		{in: "63,64,127,128", want: "63-64,127-128"},
		{in: "", bad: "want a number"},
		{in: ",", bad: "want a number"},
		{in: "10,", bad: "want a number"},
		{in: "10,,20", bad: "want a number"},
		{in: "10-", bad: "want a number"},
		{in: "-10", bad: "want a number"},
		{in: "10-20-30", bad: "want a number"},
		{in: "4096", bad: "from 0 to 4095"},
		{in: "4000-4096", bad: "from 0 to 4095"},
		{in: "29-20", bad: "runs backwards"},
		{in: "all", bad: "want a number"},
		{in: "10 20", bad: "want a number"},
	} {
		got, err := ParseVLANSet(tt.in)
		switch {
		case tt.bad == "" && err != nil:
			t.Errorf("ParseVLANSet(%q): %v", tt.in, err)
		case tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad) || !got.IsEmpty()):
			t.Errorf("ParseVLANSet(%q) = %v, %v; want an error with %q", tt.in, got, err, tt.bad)
		case got.String() != tt.want:
			t.Errorf("ParseVLANSet(%q) = %v, want %s", tt.in, got, tt.want)
		}
	}
	if s := (VLANSet{}).String(); s != "" {
		t.Errorf("the empty set is %q", s)
	}
}

// A set read is the same when it is written and read again.
func FuzzParseVLANSet(f *testing.F) {
	for _, s := range []string{"10", "10,20-29", "0-4095", " 1 - 2 ,3", "4095,0", "5-4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := ParseVLANSet(s)
		if err != nil {
			return
		}
		if set.IsEmpty() {
			t.Fatalf("ParseVLANSet(%q) is empty", s)
		}
		again, err := ParseVLANSet(set.String())
		if err != nil || again != set {
			t.Errorf("ParseVLANSet(%q) is %v, and that is read as %v, %v", s, set, again, err)
		}
	})
}

// The operations of VLANSet against a plain map.
func TestVLANSet(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var a, b VLANSet
		inA, inB := make(map[VLAN]bool), make(map[VLAN]bool)
		for range r.IntN(300) {
			v := VLAN(r.IntN(1 << 16)) // most are no VLANs
			if r.IntN(2) == 0 {
				v %= MaxVLAN + 1
			}
			switch r.IntN(3) {
			case 0:
				a.Remove(v)
				delete(inA, v)
			case 1:
				b.Add(v)
				inB[v] = v <= MaxVLAN
			default:
				a.Add(v)
				inA[v] = v <= MaxVLAN
			}
		}
		minus, and := a.Minus(b), a.And(b)
		for n := range 1 << 16 {
			v := VLAN(n)
			if a.Has(v) != inA[v] || b.Has(v) != inB[v] {
				t.Fatalf("seed %d: VLAN %d is wrong in %v or %v", seed, v, a, b)
			}
			if minus.Has(v) != (inA[v] && !inB[v]) || and.Has(v) != (inA[v] && inB[v]) {
				t.Fatalf("seed %d: VLAN %d is wrong in %v or %v, of %v and %v", seed, v, minus, and, a, b)
			}
		}
	}
	all := AllVLANs()
	if !all.Has(0) || !all.Has(MaxVLAN) || all.Has(MaxVLAN+1) || all.String() != "0-4095" {
		t.Errorf("all VLANs are %v", all)
	}
	if !all.Minus(all).IsEmpty() || all.IsEmpty() {
		t.Error("all without all is not empty, or all is")
	}
	if got := VLANs(10, 20, 10, 5000); got.String() != "10,20" {
		t.Errorf("VLANs(10, 20, 10, 5000) = %v", got)
	}
}
