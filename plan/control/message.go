package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"etcdsweep/plan"
)

// Format is in every message. Another one is refused.
const Format = "etcdsweep.control/v1"

// The longest messages, with their newlines.
const (
	MaxRequest = 1 << 10
	MaxAnswer  = 64 << 10
)

// Word is what a client wants.
type Word string

// The words.
const (
	WordStatus Word = "status" // how far it is
	WordWatch  Word = "watch"  // the same, again and again until the run ends, and what it says
	WordPause  Word = "pause"
	WordResume Word = "resume"
	WordRate   Word = "rate"
	WordAbort  Word = "abort"
)

// Request is the line that a client sends.
type Request struct {
	Format string `json:"format"`
	Word   Word   `json:"word"`
	// Rate is of WordRate alone: keys a second at most.
	Rate float64 `json:"rate,omitempty"`
	// For names the user on whose behalf the client runs, as sudo tells it. The kernel vouches for the user of the process only.
	For string `json:"for,omitempty"`
}

// Answer is a line that the server sends. It has one of Status, Said, Ended and Error. Only WordWatch gets more than one answer.
type Answer struct {
	Format string  `json:"format"`
	Status *Status `json:"status,omitempty"`
	Said   string  `json:"said,omitempty"`  // a line that the run has printed on its screen, with its newline
	Ended  *Ended  `json:"ended,omitempty"` // the last answer to WordWatch, if the run was not killed
	Error  string  `json:"error,omitempty"`
	Advice string  `json:"advice,omitempty"` // what to do about the error
}

// Ended says how a run has ended.
type Ended struct {
	State  string `json:"state"`  // of the journal
	Status int    `json:"status"` // the exit status of its process
	Error  string `json:"error,omitempty"`
}

// ParseRequest decodes a request, strictly: half of what was meant is not done.
func ParseRequest(line []byte) (Request, error) {
	var r Request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("request: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, errors.New("request: more than one value in a line")
	}
	return r, r.check()
}

func (r *Request) check() error {
	if r.Format != Format {
		return fmt.Errorf("request: of format %q, want %s: another version of etcdsweep carries out the run", r.Format, Format)
	}
	switch r.Word {
	case WordRate:
		if !(r.Rate > 0) || math.IsInf(r.Rate, 0) {
			return fmt.Errorf("request: rate %v: want more than 0", r.Rate)
		}
	case WordStatus, WordWatch, WordPause, WordResume, WordAbort:
		if r.Rate != 0 {
			return fmt.Errorf("request: %s takes no rate", r.Word)
		}
	default:
		return fmt.Errorf("request: unknown word %q", r.Word)
	}
	if !isName(r.For) {
		return errors.New("request: for is not the name of a user")
	}
	return nil
}

// isName reports whether a name may stand in a journal and on a screen; "" may, for none.
func isName(name string) bool {
	if len(name) > 64 {
		return false
	}
	for _, r := range name {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return true
}

// parseAnswer decodes an answer. Fields that it does not know are those of a later version, and left.
func parseAnswer(line []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(line, &a); err != nil {
		return Answer{}, fmt.Errorf("answer: %w", err)
	}
	if a.Format != Format {
		return Answer{}, &plan.RefusedError{
			Reason: fmt.Sprintf("the run answers in format %q, want %s", a.Format, Format),
			Advice: "another version of etcdsweep carries it out: use that one for ctl, too",
		}
	}
	if a.Error != "" {
		return Answer{}, &plan.RefusedError{Reason: a.Error, Advice: a.Advice}
	}
	if a.Status == nil && a.Said == "" && a.Ended == nil {
		return Answer{}, errors.New("answer: it says nothing")
	}
	return a, nil
}
