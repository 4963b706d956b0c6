package plan

import (
	"encoding/json"
	"strconv"
	"strings"
)

// appendJSON appends the entry as encoding/json would write it. Planning writes a line for each of hundreds of
// thousands of pods on a machine that is short of CPU; a test holds the two to the same result.
func (e *Entry) appendJSON(b []byte) []byte {
	field := func(name, value string) {
		b = append(b, name...)
		b = appendString(b, value)
	}
	number := func(name string, value int64) {
		b = append(b, name...)
		b = strconv.AppendInt(b, value, 10)
	}
	field(`{"stage":`, e.Stage)
	field(`,"key":`, e.Key)
	field(`,"kind":`, e.Kind)
	if e.Group != "" {
		field(`,"group":`, e.Group)
	}
	if e.Namespace != "" {
		field(`,"namespace":`, e.Namespace)
	}
	field(`,"name":`, e.Name)
	field(`,"uid":`, e.UID)
	number(`,"create_revision":`, e.CreateRevision)
	number(`,"mod_revision":`, e.ModRevision)
	number(`,"bytes":`, int64(e.Bytes))
	field(`,"why":`, e.Why)
	return append(b, '}')
}

// appendString appends a JSON string. Nearly every string of a plan is plain ASCII; encoding/json has the others.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain(s[i]) {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always has a JSON form
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plain reports whether a byte stands for itself in a JSON string, whoever wrote it.
func plain(c byte) bool {
	return ' ' <= c && c <= '~' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

// parse decodes the line of an entry, its newline included. A line as [Writer] writes it, of plain strings, is taken apart
// by hand, because a run reads its plan several times; encoding/json has all others, and the last word on what is refused.
func (e *Entry) parse(line []byte) error {
	p := entryParser{rest: string(line)} // the strings of an entry are pieces of one
	*e = Entry{
		Stage:          p.text(`{"stage":`),
		Key:            p.text(`,"key":`),
		Kind:           p.text(`,"kind":`),
		Group:          p.optional(`,"group":`),
		Namespace:      p.optional(`,"namespace":`),
		Name:           p.text(`,"name":`),
		UID:            p.text(`,"uid":`),
		CreateRevision: p.number(`,"create_revision":`),
		ModRevision:    p.number(`,"mod_revision":`),
		Bytes:          int(p.number(`,"bytes":`)),
		Why:            p.text(`,"why":`),
	}
	if p.strange || p.rest != "}\n" {
		return decodeLine(line, e)
	}
	return nil
}

// entryParser takes fields from the front of an entry's line.
type entryParser struct {
	rest    string
	strange bool // the line is not one that appendJSON writes without encoding/json
}

func (p *entryParser) text(name string) string {
	rest, ok := strings.CutPrefix(p.rest, name)
	if !ok || rest == "" || rest[0] != '"' {
		p.strange = true
		return ""
	}
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == '"':
			p.rest = rest[i+1:]
			return rest[1:i]
		case !plain(rest[i]):
			p.strange = true
			return ""
		}
	}
	p.strange = true
	return ""
}

func (p *entryParser) optional(name string) string {
	if !strings.HasPrefix(p.rest, name) {
		return ""
	}
	return p.text(name)
}

const maxDigits = 18 // of which any fit into an int64

func (p *entryParser) number(name string) int64 {
	rest, ok := strings.CutPrefix(p.rest, name)
	digits := 0
	var n int64
	for digits < len(rest) && digits <= maxDigits && '0' <= rest[digits] && rest[digits] <= '9' {
		n = 10*n + int64(rest[digits]-'0')
		digits++
	}
	if !ok || digits == 0 || digits > maxDigits || rest[0] == '0' && digits > 1 {
		p.strange = true
		return 0
	}
	p.rest = rest[digits:]
	return n
}
