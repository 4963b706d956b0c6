package control

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
)

// A request that is understood is one that can be sent, and is understood again as the same.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"format":"etcdsweep.control/v1","word":"status"}`,
		`{"format":"etcdsweep.control/v1","word":"rate","rate":12.5,"for":"alice"}`,
		`{"format":"etcdsweep.control/v1","word":"rate","rate":-0}`,
		`{"format":"etcdsweep.control/v1","word":"pause"}{}`,
		"null", "[]", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRequest(line)
		if err != nil {
			return
		}
		if r.Rate < 0 || math.IsInf(r.Rate, 0) || (r.Rate > 0) != (r.Word == WordRate) || !isName(r.For) {
			t.Fatalf("%q is taken for %+v", line, r)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRequest(again); err != nil || got != r {
			t.Fatalf("%q, sent again, is %+v, %v", line, got, err)
		}
	})
}

// An answer that is understood says something; whatever a server cuts off and sends is short enough to be read.
func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"format":"etcdsweep.control/v1","status":{"command":"apply","plan":"0123456789abcdef","pid":1,"step":"pods","unit":"keys",` +
			`"done":1,"total":2,"pace":{"state":"paused","reason":"leader changed","p95_ms":1.5},"minute":{"rate":[1,2],"p95_ms":[0,1.5]}}}`,
		`{"format":"etcdsweep.control/v1","said":"pods 1 deleted\n"}`,
		`{"format":"etcdsweep.control/v1","ended":{"state":"done","status":0}}`,
		`{"format":"etcdsweep.control/v1","error":"not now","advice":"wait"}`,
		`{"format":"etcdsweep.control/v2"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := parseAnswer(line)
		if err == nil && a.Status == nil && a.Said == "" && a.Ended == nil {
			t.Fatalf("%q says nothing", line)
		}
		words := cut(string(bytes.Repeat(line, 1+maxLine/max(len(line), 1))))
		sent, err := json.Marshal(Answer{Format: Format, Error: words, Advice: words})
		if err != nil || len(sent) >= MaxAnswer {
			t.Fatalf("%d bytes, %v", len(sent), err)
		}
	})
}
