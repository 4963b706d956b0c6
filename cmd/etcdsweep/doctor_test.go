package main

import (
	"strings"
	"testing"

	"etcdsweep/plan/doctor"
)

// The flaws of an old release take a few lines of the screen: the gravest in full, the others counted.
func TestDoctorFoldsLesserFlaws(t *testing.T) {
	members := []doctor.Member{{Name: "m1", Version: "3.4.23", Leader: true}}
	facts := &doctor.Facts{Endpoints: []doctor.Endpoint{{Address: "a"}}, Members: members}
	var out strings.Builder
	printDoctor(&out, doctor.Examine(facts), facts)
	if n := strings.Count(out.String(), "warn  version "); n != 5 {
		t.Errorf("%d lines of flaws, want 5:\n%s", n, &out)
	}
	if !strings.Contains(out.String(), "and 6 lesser flaws of that version\n                   -> doctor -o json names them") {
		t.Errorf("not counted:\n%s", &out)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > width+1 {
			t.Errorf("too wide: %s", line)
		}
	}
}
