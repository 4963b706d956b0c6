package controllers

import (
	"errors"
	"slices"
	"time"

	"etcdsweep/decode"
)

// DefaultStill is the lease duration of kube-controller-manager (--leader-elect-lease-duration), in which a living leader
// writes seven times: a record that stands still for that long has no leader. See Sight.Needs for one that was seen to move.
const DefaultStill = 15 * time.Second

// Sight is what was seen of kube-controller-manager.
type Sight struct {
	Reads int64 // rounds of reading that etcd answered; while it is 0 nothing is known
	Err   error // of the last round; nil if that was answered

	Found  bool   // there is a record
	Key    string // of that record; of two, the one that moved last
	Holder string // who holds it; "" if nobody does, or if the record cannot be read

	Moves   int64    // how often it was seen to have moved
	Holders []string // those that moved it, in order; the same one again if another was in between

	// Still is how long the record has stood still, or been absent, up to the last round. Only time between rounds that were
	// answered counts, and no gap in which one was not: without etcd no manager can write, alive or not.
	Still time.Duration
	// Moving says that the record has moved, and has not stood still since for what the lease duration that was asked for
	// needs: see Needs. It is DefaultStill in what Watch.Sight returns.
	Moving bool
}

// Needs returns how long the record must stand still until nobody leads, with a lease duration: that duration, but twice as
// long once the record was seen to move.
//
// Who was seen to lead and has been stopped may have a standby. A standby reads the record every RetryPeriod of 2 s, stretched
// at random by up to JitterFactor, 1.2, so every 2 to 4.4 s; it counts the lease duration from when it first saw the last write,
// and takes over at the read behind that (client-go tools/leaderelection: acquire, tryAcquireOrRenew). So with 15 s it writes
// up to 4.4 + 15 + 4.4 = 23.8 s after the last write of the one that was stopped, and 30 s of stillness say that there is none.
func (s Sight) Needs(lease time.Duration) time.Duration {
	if s.Moves > 0 {
		return 2 * lease
	}
	return lease
}

// state is what a watch has seen.
type state struct {
	sight   Sight // without Moving
	records [2]seen
	current int // the record that Sight describes

	begun    int64 // rounds begun
	answered int64 // the number of the last one that was answered, counted from 1
	baseline int64 // the number of the one that the last move is told from

	counted time.Duration // of stillness before since
	since   time.Time     // end of the first round of the row that lasts; zero after a failed one
}

// seen is one record in one round; the zero value is an absent one.
type seen struct {
	mod    int64
	holder string
	blank  bool // nobody holds it
}

// look judges a record. An Endpoints object without the annotation belongs to a Service: it is no record.
func look(r *decode.Record) seen {
	if r == nil {
		return seen{}
	}
	holder, err := r.LeaderIdentity()
	if errors.Is(err, decode.ErrNoLeaderRecord) {
		return seen{}
	}
	return seen{mod: r.ModRevision, holder: holder, blank: err == nil && holder == ""}
}

func (s seen) found() bool { return s.mod != 0 }

// failed notes a round without an answer.
func (s *state) failed(err error) {
	s.sight.Err = err
	s.counted, s.since = s.sight.Still, time.Time{}
}

// note notes a round that was answered between two moments. Stillness is counted from the end of one round to the beginning of
// another: that much of it is certain.
func (s *state) note(round int64, keys [2]string, records [2]seen, began, ended time.Time) {
	first := s.sight.Reads == 0
	changed := first
	for i := len(records) - 1; i >= 0; i-- { // the Lease last: it is the one to show if both moved
		before, now := s.records[i], records[i]
		if before.mod == now.mod {
			continue
		}
		changed = true
		if !now.found() {
			continue
		}
		s.current = i
		if !first && !now.blank {
			s.move(now.holder)
		}
	}
	s.sight.Reads++
	s.sight.Err = nil
	s.records, s.answered = records, round
	if !records[s.current].found() {
		s.current = slices.IndexFunc(records[:], seen.found)
		s.current = max(s.current, 0)
	}
	shown := records[s.current]
	s.sight.Found, s.sight.Holder, s.sight.Key = shown.found(), shown.holder, ""
	if shown.found() {
		s.sight.Key = keys[s.current]
	}
	switch {
	case changed:
		s.counted, s.since, s.sight.Still = 0, ended, 0
	case s.since.IsZero():
		s.since = ended
	default:
		s.sight.Still = s.counted + began.Sub(s.since)
	}
}

// move notes that a record has moved between the last round that was answered and this one. A holder that lets go of its
// record (blank) has ended: that is a change, but no move.
func (s *state) move(holder string) {
	s.sight.Moves++
	s.baseline = s.answered
	if n := len(s.sight.Holders); holder != "" && (n == 0 || s.sight.Holders[n-1] != holder) {
		s.sight.Holders = append(s.sight.Holders, holder)
	}
}

// seen returns a copy for the caller, judged by the lease duration.
func (s *state) seen(lease time.Duration) Sight {
	sight := s.sight
	sight.Holders = slices.Clone(sight.Holders)
	sight.Moving = sight.Moves > 0 && sight.Still < sight.Needs(lease)
	return sight
}
