// Package journal writes down what a run does, so that one that was killed at any instant goes on, and what it did can be
// told afterwards.
//
// A journal is a durable.Log of the format [Format]; the payload of each frame is a [Frame] in JSON. Keys that may be
// deleted from now on are in it, on the disk, before the first of them is, and what became of each follows when all are
// done. A key without an outcome is in doubt: whoever goes on reads it again.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"etcdsweep/durable"
	"etcdsweep/plan"
)

// Format is the first line of a journal.
const Format = "etcdsweep.journal/v1\n"

// Frame is one step of a run. Exactly one of its pointers is set.
type Frame struct {
	At time.Time `json:"at"`

	Opened      *Opened      `json:"opened,omitempty"`
	Proved      *Proof       `json:"proved,omitempty"`
	Page        *Page        `json:"page,omitempty"`
	Judged      *Judged      `json:"judged,omitempty"`
	Paused      *Pause       `json:"paused,omitempty"`
	Resumed     *Pause       `json:"resumed,omitempty"`
	Told        *Told        `json:"told,omitempty"`
	Controllers *Controllers `json:"controllers,omitempty"`
	Lease       *Lease       `json:"lease,omitempty"`
	Closed      *Closed      `json:"closed,omitempty"`
}

// Opened says who runs what, where: direct writes to etcd bypass the audit log of Kubernetes.
type Opened struct {
	Command     string   `json:"command"` // apply, undo
	Plan        string   `json:"plan"`    // ID
	Tool        string   `json:"tool"`    // version
	User        string   `json:"user"`
	Host        string   `json:"host"`
	PID         int      `json:"pid"`
	CommandLine []string `json:"command_line"` // passwords left out
}

// Proof says what the snapshot is, and what it holds of the plan.
type Proof struct {
	Path     string `json:"path"`
	Revision int64  `json:"revision"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`

	Planned  int64          `json:"proved_as_planned"`
	Drifted  int64          `json:"proved_as_drifted"` // found at the revision they had when read again
	Since    int64          `json:"drifted_since"`     // since the snapshot: their newer bytes are in the archive
	Gone     int64          `json:"gone"`              // absent from the cluster, so there is nothing to keep
	Unproved []plan.KeptOut `json:"unproved,omitempty"`
}

// Page names the keys that may be written to from now on. They stay in doubt until they are judged.
type Page struct {
	Stage string   `json:"stage"`
	Keys  []string `json:"keys"`
}

// Judged says what became of keys.
type Judged struct {
	Stage string    `json:"stage"`
	Keys  []Verdict `json:"keys"`
}

// Verdict says what became of one key.
type Verdict struct {
	Key     string  `json:"key"`
	Outcome Outcome `json:"outcome"`
	// Revision is that of the write; 0 if there was none, or if its answer was lost.
	Revision int64 `json:"revision,omitempty"`
	// CreateRevision and ModRevision are those of the record in the archive that the verdict is about; 0 if there is none.
	CreateRevision int64  `json:"create_revision,omitempty"`
	ModRevision    int64  `json:"mod_revision,omitempty"`
	Reason         string `json:"reason,omitempty"` // of a skip
}

// Pause says why the run stood still. Its frame as Resumed says for how long.
type Pause struct {
	Reason  string  `json:"reason"`
	Seconds float64 `json:"seconds,omitempty"`
}

// Told is a word that somebody gave to the run.
type Told struct {
	Word string    `json:"word"`        // pause, resume, rate N, abort
	By   string    `json:"by"`          // user and process
	At   time.Time `json:"at,omitzero"` // in reports; in a journal it is that of the frame
}

// Controllers says what was seen of kube-controller-manager.
type Controllers struct {
	Key    string `json:"key,omitempty"` // of its lease, or of the record that stood for it before Kubernetes 1.17; "" if there was none
	Holder string `json:"holder,omitempty"`
	Moving bool   `json:"moving"` // the holder has renewed it while the run looked on
}

// Lease says which lease stands for one that keys had.
type Lease struct {
	Old     int64   `json:"old"`
	New     int64   `json:"new"`
	Seconds float64 `json:"seconds"` // that were left
}

// Closed ends an attempt that was not killed.
type Closed struct {
	State State  `json:"state"`
	Error string `json:"error,omitempty"`
}

// Writer appends to a journal. It is safe for concurrent use.
type Writer struct {
	log *durable.Log
	now func() time.Time
}

// Create makes a journal, mode 0600; its path must be free. The caller closes it.
func Create(fsys durable.FS, path string, now func() time.Time) (*Writer, error) {
	log, err := durable.CreateLog(fsys, path, Format)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &Writer{log: log, now: now}, nil
}

// Open opens a journal to append to it, after it has called each for every frame that it holds. A torn tail is cut off;
// cut is its length in bytes. The caller closes the journal.
func Open(fsys durable.FS, path string, now func() time.Time, each func(*Frame)) (_ *Writer, cut int64, err error) {
	log, cut, err := durable.OpenLog(fsys, path, Format, func(payload []byte) error {
		frame, err := parse(payload)
		if err == nil {
			each(frame)
		}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	return &Writer{log: log, now: now}, cut, nil
}

// Append adds a frame, and its time. When it returns nil the frame is on the disk. After an error the journal takes no more.
func (w *Writer) Append(frame Frame) error {
	frame.At = w.now().UTC()
	payload, err := json.Marshal(frame)
	if err == nil {
		err = w.log.Append(payload)
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error {
	if err := w.log.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// ReadFile yields the frames of the journal at path. An error is the last pair: durable.ErrTorn in its chain for a tail
// that is cut off, another for damage.
func ReadFile(path string) iter.Seq2[*Frame, error] {
	return func(yield func(*Frame, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(nil, fmt.Errorf("journal: %w", err))
			return
		}
		defer file.Close() // was only read
		for payload, err := range durable.ReadLog(file, Format) {
			var frame *Frame
			if err == nil {
				frame, err = parse(payload)
			}
			if err != nil {
				yield(nil, fmt.Errorf("journal %s: %w", path, err))
				return
			}
			if !yield(frame, nil) {
				return
			}
		}
	}
}

// parse decodes a frame, strictly: a field that this version does not know may be one that matters.
func parse(payload []byte) (*Frame, error) {
	frame := new(Frame)
	if err := strict(payload, frame); err != nil {
		return nil, err
	}
	set := 0
	for _, is := range []bool{
		frame.Opened != nil, frame.Proved != nil, frame.Page != nil, frame.Judged != nil, frame.Paused != nil,
		frame.Resumed != nil, frame.Told != nil, frame.Controllers != nil, frame.Lease != nil, frame.Closed != nil,
	} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, errors.New("a frame that says nothing, or two things")
	}
	return frame, nil
}
