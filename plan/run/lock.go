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
// UID of its Namespace kube-system. One that holds the lock for longer than a second does: the error is a *plan.RefusedError that names it. A lock on another
// machine is not seen: what keeps two runs apart there are the revisions that each write compares.
func LockCluster(stateDir, systemUID string, who journal.Opened, now time.Time) (*Lock, error) {
	path := lockPath(stateDir, systemUID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	file := flock.New(path, flock.SetPermissions(0o600))
	switch locked, err := lockSoon(file); {
	case err != nil:
		return nil, fmt.Errorf("lock: %w", err)
	case !locked:
		return nil, occupied(stateDir, path)
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

// lockSoon locks a file, and tries for a while: whoever lists the runs holds it for a moment.
func lockSoon(file *flock.Flock) (bool, error) {
	const patience, pause = time.Second, 25 * time.Millisecond
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for tries := patience / pause; ; tries-- {
		if locked, err := file.TryLock(); locked || err != nil || tries == 0 {
			return locked, err
		}
		<-ticker.C
	}
}

// Close gives the cluster free. The file says then that nobody holds it: whoever holds it next for a moment is not taken for
// this process.
func (l *Lock) Close() error { return errors.Join(os.Truncate(l.file.Path(), 0), l.file.Close()) }

// UnderWay reports whether a process of this machine carries out the plan of a run, or undoes it: it holds the lock on its cluster.
func UnderWay(d *Dir, p *plan.File) bool {
	holder, locked := lockedBy(d.StateDir(), p.Header.Cluster.SystemUID)
	return locked && holder.Plan == p.ID
}

// lockedBy returns who works on a cluster, and whether somebody does. It holds the lock for a moment if nobody does.
func lockedBy(stateDir, systemUID string) (holder, bool) {
	path := lockPath(stateDir, systemUID)
	if !exists(path) {
		return holder{}, false
	}
	file := flock.New(path, flock.SetPermissions(0o600))
	defer file.Close()
	if free, err := file.TryRLock(); err != nil || free {
		return holder{}, false
	}
	h, err := readHolder(path)
	return h, err == nil
}

func lockPath(stateDir, systemUID string) string {
	return filepath.Join(stateDir, "locks", "cluster-"+url.PathEscape(systemUID))
}

func readHolder(path string) (h holder, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	return h, err
}

// occupied says who holds a lock, and how to look at the run and to end it.
func occupied(stateDir, path string) *plan.RefusedError {
	who, dir := "it does not say who", "RUN-DIR" // it has the lock, and has not written yet
	if h, err := readHolder(path); err == nil {
		who = fmt.Sprintf("%s of plan %s by %s on %s, process %d, since %s",
			h.Command, h.Plan, h.User, h.Host, h.PID, h.Since.Format("2006-01-02 15:04:05 MST"))
		dir = filepath.Join(stateDir, "runs", h.Plan)
	}
	return &plan.RefusedError{
		Reason: "another etcdsweep works on this cluster: " + who,
		Advice: fmt.Sprintf("wait for it: etcdsweep ctl %[1]s watch shows its screen, and etcdsweep ctl %[1]s abort ends it", dir),
	}
}
