package doctor

import (
	"errors"
	"fmt"
	"slices"
)

// Level is how bad a finding is.
type Level string

// The levels, from good to bad.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one line of a report.
type Finding struct {
	Subject string `json:"subject"`
	Level   Level  `json:"level"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"` // what to do; never empty unless the level is OK

	// Lesser is one behind graver ones of its kind: it may be counted where there is no room to tell it.
	Lesser bool `json:"lesser,omitempty"`
}

// Report is what a doctor says.
type Report struct {
	Level    Level     `json:"level"` // of the worst finding
	Findings []Finding `json:"findings"`
}

// Examine judges the facts.
func Examine(f *Facts) Report {
	var r Report
	examine := []func(*Facts) []Finding{endpoints, certificates, nature, members, versions, space, quorum, access, registry, writers, encodings, room}
	for _, look := range examine {
		r.Findings = append(r.Findings, look(f)...)
	}
	r.Level = OK
	for _, level := range []Level{Warn, Fail} {
		if slices.ContainsFunc(r.Findings, func(finding Finding) bool { return finding.Level == level }) {
			r.Level = level
		}
	}
	return r
}

func ok(subject, format string, args ...any) []Finding {
	return []Finding{{Subject: subject, Level: OK, Text: fmt.Sprintf(format, args...)}}
}

func warn(subject, hint, format string, args ...any) []Finding {
	return []Finding{{Subject: subject, Level: Warn, Text: fmt.Sprintf(format, args...), Hint: hint}}
}

func fail(subject, hint, format string, args ...any) []Finding {
	return []Finding{{Subject: subject, Level: Fail, Text: fmt.Sprintf(format, args...), Hint: hint}}
}

// unknown is for what could not be looked at.
func unknown(subject string, err error) []Finding {
	return warn(subject, hintOf(err, "look at etcd's members first"), "not known: %v", err)
}

// hintOf returns what an error itself says to do.
func hintOf(err error, otherwise string) string {
	var hinting interface{ Hint() string }
	if errors.As(err, &hinting) && hinting.Hint() != "" {
		return hinting.Hint()
	}
	return otherwise
}

// silent reports that nothing is known of the cluster behind the endpoints, which is said already.
func (f *Facts) silent() bool {
	return f.Connection != nil || !slices.ContainsFunc(f.Endpoints, func(e Endpoint) bool { return e.Err == nil })
}

// foreign reports that what is behind them is no etcd, or gives no list of its members.
func (f *Facts) foreign() bool { return f.silent() || f.NotEtcd != "" || f.MembersErr != nil }
