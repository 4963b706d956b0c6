package plan

import "strings"

// uidSet is a set of UIDs. Of one of the usual form it keeps 16 bytes.
type uidSet struct {
	usual  map[uid]struct{}
	others map[string]struct{}
}

// uid is a UID of the usual form: 8-4-4-4-12 hexadecimal digits, as in text.
type uid [16]byte

func newUIDs() uidSet { return uidSet{map[uid]struct{}{}, map[string]struct{}{}} }

func (s uidSet) add(text string) {
	if u, ok := parseUID(text); ok {
		s.usual[u] = struct{}{}
	} else {
		s.others[strings.Clone(text)] = struct{}{}
	}
}

func (s uidSet) has(text string) (ok bool) {
	if u, usual := parseUID(text); usual {
		_, ok = s.usual[u]
	} else {
		_, ok = s.others[text]
	}
	return ok
}

// parseUID reads a UID of the usual form. Capital letters are not of it: they make another UID.
func parseUID(text string) (u uid, ok bool) {
	const length = 36
	if len(text) != length {
		return u, false
	}
	digits := 0
	for i := range length {
		c := text[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return u, false
			}
			continue
		}
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return u, false
		}
		u[digits/2] = u[digits/2]<<4 | c
		digits++
	}
	return u, true
}
