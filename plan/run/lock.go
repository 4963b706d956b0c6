package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"etcdsweep/plan"
	"etcdsweep/plan/journal"
)

// Lock is held by the one process on this machine that works on a cluster. It dies with the process.
type Lock struct{ file *flock.Flock }

// holder is what a lock file says of who holds it.
type holder struct {
	journal.Opened
	Since time.Time `json:"since"`
}

// LockCluster makes sure that no other process that uses the state directory works on the cluster, which is known by the
// UID of its Namespace kube-system. If one does, the error is a *plan.RefusedError that names it. A lock on another
// machine is not seen: what keeps two runs apart there are the revisions that each write compares.
func LockCluster(stateDir, systemUID string, who journal.Opened, now time.Time) (*Lock, error) {
	path := filepath.Join(stateDir, "locks", "cluster-"+url.PathEscape(systemUID))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	file := flock.New(path, flock.SetPermissions(0o600))
	switch locked, err := file.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lock: %w", err)
	case !locked:
		return nil, &plan.RefusedError{
			Reason: "another etcdsweep works on this cluster: " + readHolder(path),
			Advice: "wait for it, or interrupt it with Ctrl-C in its terminal",
		}
	}
	text, err := json.Marshal(holder{who, now.UTC()})
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), file.Close())
	}
	return &Lock{file}, nil
}

// Close gives the cluster free.
func (l *Lock) Close() error { return l.file.Close() }

func readHolder(path string) string {
	var h holder
	if text, err := os.ReadFile(path); err != nil || json.Unmarshal(text, &h) != nil {
		return "it does not say who" // it has the lock, and has not written yet
	}
	return fmt.Sprintf("%s of plan %s by %s on %s, process %d, since %s",
		h.Command, h.Plan, h.User, h.Host, h.PID, h.Since.Format("2006-01-02 15:04:05 MST"))
}
