package controllers

import (
	"fmt"
	"strings"
	"time"
)

// Alive reports whether a leader was seen to write, and has not stood still since for as long as that [Sight.Needs].
func (s Sight) Alive(lease time.Duration) bool { return s.Moves > 0 && s.Still < s.Needs(lease) }

// Words says what was seen, in a line.
func (s Sight) Words(lease time.Duration) string {
	switch {
	case s.Err != nil:
		return "its lease cannot be read: " + s.Err.Error()
	case s.Alive(lease):
		return "alive, led by " + strings.Join(s.Holders, ", then ")
	case !s.Found:
		return fmt.Sprintf("no lease seen for %s; without leader election there is none, alive or not", s.Still.Round(time.Second))
	default:
		return fmt.Sprintf("its lease has stood still for %s", s.Still.Round(time.Second))
	}
}
