package plan

import (
	"context"
	"time"
)

// RevisionWatch is the first of two looks at the revisions of keys.
type RevisionWatch struct {
	source NodeSource
	prefix string
	began  time.Time
	first  map[string]int64
}

// WatchRevisions takes the first look at the keys under a prefix.
func WatchRevisions(ctx context.Context, source NodeSource, prefix string) (*RevisionWatch, error) {
	w := &RevisionWatch{source: source, prefix: prefix}
	var err error
	w.first, err = readRevisions(ctx, source, prefix)
	w.began = time.Now()
	return w, err
}

// Left returns how much of the wait is left.
func (w *RevisionWatch) Left(wait time.Duration) time.Duration {
	return max(wait-time.Since(w.began), 0)
}

// Finish takes the second look, when at least wait has passed since the first, and returns how many keys were written meanwhile.
func (w *RevisionWatch) Finish(ctx context.Context, wait time.Duration) (moved int, err error) {
	if err := pause(ctx, w.Left(wait)); err != nil {
		return 0, err
	}
	second, err := readRevisions(ctx, w.source, w.prefix)
	for key, revision := range second {
		if w.first[key] != revision {
			moved++
		}
	}
	return moved, err
}

func readRevisions(ctx context.Context, source NodeSource, prefix string) (map[string]int64, error) {
	revisions := map[string]int64{}
	for record, err := range source.ScanKeys(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		revisions[record.Key] = record.ModRevision
	}
	return revisions, nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
