package run

import (
	"time"

	"etcdsweep/plan/journal"
	"etcdsweep/plan/pace"
)

// Event is something that happened during a run. The engine emits events, one at a time; whoever runs it draws them.
type Event interface{ event() }

// Step is a part of a run. Those that write are the stages of its journal, too.
type Step string

// The steps of a run, in order.
const (
	StepPreflight   Step = "preflight"
	StepControllers Step = "controllers"
	StepSnapshot    Step = "snapshot"
	StepProof       Step = "proof"
	StepCollateral  Step = "collateral"
	StepRoots       Step = "roots"
	StepSettle      Step = "settle"
	StepPods        Step = "pods"
	StepObjects     Step = "objects"
	StepNamespace   Step = "namespace"
	StepNewcomers   Step = "newcomers"
	StepVerify      Step = "verify"
)

// StepRestore is what an undo does between preflight and verify.
const StepRestore Step = "restore"

// Writes reports whether a step writes to etcd.
func (s Step) Writes() bool {
	switch s {
	case StepRoots, StepPods, StepObjects, StepNamespace, StepNewcomers, StepRestore:
		return true
	}
	return false
}

// StepBegan opens a step. Total is the number of keys, or of bytes of a snapshot, that it is about; 0 if that is not known.
type StepBegan struct {
	Step  Step
	Total int64
}

// StepEnded closes the step that was begun last. Words says what came of it.
type StepEnded struct {
	Step  Step
	Words string
}

// Advanced says how far a step has come: keys judged, or bytes of the snapshot received.
type Advanced struct {
	Step Step
	Done int64
}

// Judged says what became of one key.
type Judged struct {
	Step    Step
	Key     string
	Outcome journal.Outcome
	Reason  string // of a skip
}

// Settling is emitted now and then while the run waits for births to end.
type Settling struct {
	Quiet   time.Duration // since the last birth, or since the roots went
	Need    time.Duration // quiet that the run waits for
	Births  int64         // since the roots went
	PerSec  float64       // births a second, over the last few seconds
	Owners  []string      // who makes them
	Waiting bool          // births were seen: the run is paused by a producer
}

// Paced says how fast the run may go, twice a second.
type Paced struct{ pace.Status }

// Warning is for the operator's eyes.
type Warning struct{ Text string }

func (StepBegan) event() {}
func (StepEnded) event() {}
func (Advanced) event()  {}
func (Judged) event()    {}
func (Settling) event()  {}
func (Paced) event()     {}
func (Warning) event()   {}
