package run

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"etcdsweep/decode"
	"etcdsweep/plan/pace"
)

const (
	maxTries  = 6 // requests without an answer before a run stops
	firstWait = 50 * time.Millisecond

	leastTrying = 5 * time.Second // of reads that fail: the pace knows of an outage after half as long
	longHeld    = time.Second     // by which a run that stood still is told from one whose turn it was not

	silenceEvery = 5 * time.Second
)

// Writes makes guarded writes, and finds out what became of those whose answers were lost.
type Writes struct {
	Get func(ctx context.Context, key string) (*decode.Record, error)
	// Wait holds up each request until it may be made. Done is told when it is over, and whether it was answered.
	Wait func(ctx context.Context) (done func(answered bool), err error)
	// Silent is told of an answer that was lost, but not of each of those that are lost together.
	Silent func(err error)
	Now    func() time.Time

	mu   sync.Mutex
	told time.Time // when Silent was told last
}

// Answer is what guarded writes of one key came to.
type Answer struct {
	Revision   int64          // of the write; 0 if it was not carried out, or if its answer was lost
	Current    *decode.Record // as it is now, if Revision is 0; nil if the key is absent
	Lost       bool           // an answer was lost on the way, so what stands now may be our doing
	Unresolved bool           // the last answer was lost, and the key could not be read again
}

// Write makes one guarded write of a key: a request that answers with the revision of the write, or with the record as it
// is now. If its answer is lost the key is read again, and the write is made again only where stands says of the record
// that nothing has happened to it. What etcd refuses for certain ends it at once, unless it says that it is too busy.
// Write gives up with a *HealthError when etcd gives no answers, and with ErrInterrupted when ctx has ended: that ends
// the waiting, while a request that is under way is finished all the same.
func (w *Writes) Write(ctx context.Context, key string, request func(ctx context.Context) (int64, *decode.Record, error), stands func(current *decode.Record) bool) (a Answer, err error) {
	requests := context.WithoutCancel(ctx)
	for try := 1; ; try++ {
		done, err := w.Wait(ctx)
		if err != nil {
			return a, ErrInterrupted
		}
		a.Revision, a.Current, err = request(requests)
		done(err == nil)
		if err == nil {
			a.Unresolved = false
			return a, nil
		}
		switch notDone, temporary := refusal(err); {
		case notDone && !temporary:
			return a, err
		case !notDone:
			a.Lost = true
			w.tell(err)
			current, readErr := w.Get(requests, key)
			if a.Unresolved = readErr != nil; readErr == nil && !stands(current) {
				a.Current = current
				return a, nil
			}
		}
		if try == maxTries {
			return a, Unhealthy(err)
		}
		if !Wait(ctx, backOff(try)) {
			return a, ErrInterrupted
		}
	}
}

// refusal reports whether an error says that the request was not carried out, for certain, and whether it may be later.
func refusal(err error) (notDone, temporary bool) {
	var certain interface{ NotDone() bool }
	var busy interface{ Temporary() bool }
	notDone = errors.As(err, &certain) && certain.NotDone()
	return notDone, notDone && errors.As(err, &busy) && busy.Temporary()
}

func (w *Writes) tell(err error) {
	w.mu.Lock()
	now := w.Now()
	tell := now.Sub(w.told) >= silenceEvery
	if tell {
		w.told = now
	}
	w.mu.Unlock()
	if tell {
		w.Silent(err)
	}
}

// Retry makes a read until it is answered, or until it is refused, ctx ends, or too many tries have failed. No try is made while
// the run stands still. Tries that fail at once go on until the pace knows of an outage: how long that may last it decides, and
// behind it they count anew.
func Retry[T any](ctx context.Context, pacer *pace.Pacer, read func(ctx context.Context) (T, error)) (answer T, err error) {
	try, began := 0, time.Now()
	for {
		asked := time.Now()
		if pacer.Reads(ctx, 0) != nil {
			return answer, ErrInterrupted
		}
		if now := time.Now(); now.Sub(asked) >= longHeld {
			try, began = 0, now
		}
		if answer, err = read(ctx); err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return answer, ErrInterrupted
		}
		if notDone, temporary := refusal(err); notDone && !temporary {
			return answer, err
		}
		if try++; try >= maxTries && time.Since(began) >= leastTrying {
			return answer, Unhealthy(err)
		}
		if !Wait(ctx, backOff(min(try, maxTries))) {
			return answer, ErrInterrupted
		}
	}
}

// backOff returns how long to wait after the try: doubled each time, and spread so that sixteen workers do not knock at once.
func backOff(try int) time.Duration {
	wait := firstWait << try
	return wait/2 + rand.N(wait)
}

// Patience is how long to wait after so many failures in a row.
func Patience(failures int) time.Duration { return backOff(min(failures, maxTries)) }

// Wait waits, and reports whether it did so to the end.
func Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
