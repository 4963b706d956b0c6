package undo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/plan/controllers"
	"etcdsweep/plan/journal"
	"etcdsweep/plan/run"
)

// AllowLiveControllers puts back while kube-controller-manager is alive.
const AllowLiveControllers = "live-controllers"

// AllowUnreadableNamespaces puts back into namespaces whose records cannot be read, and which may be terminating.
const AllowUnreadableNamespaces = "unreadable-namespaces"

// Allowances returns the names that --allow of undo takes.
func Allowances() []string {
	return []string{AllowLiveControllers, run.AllowDegraded, AllowUnreadableNamespaces}
}

const (
	pageKeys  = 1000
	pageBytes = 2 << 20
)

// refusals are the reasons not to undo.
type refusals struct {
	run.Refusals
	readable bool // it is the same cluster, and it answers
}

// preflight gathers every reason not to put back, and warns of what is none. It fails only if nothing can be said.
func (u *undoer) preflight(ctx context.Context) (refusals, error) {
	facts, err := u.Cluster.Facts(ctx)
	if err != nil {
		return refusals{}, err
	}
	r := refusals{run.Check(&u.Plan.Header, facts, u.Allow), facts.Quorum == nil && facts.Identity == u.Plan.Header.Cluster}
	u.checkAlarms(&r, &facts)
	u.checkSelection(&r)
	if r.readable {
		if err := u.checkLive(ctx, &r); err != nil {
			return r, err
		}
	}
	u.warnOfArchive()
	for _, m := range facts.Members {
		if m.Err != nil {
			u.warn("member %s does not answer: %v", m.Name, m.Err)
		}
	}
	if len(r.Refusals) > 0 {
		return r, nil
	}
	howFast := ""
	if !u.DryRun {
		if err := u.Pace.Measure(ctx); err != nil {
			return r, err
		}
		begins := u.Pace.Status()
		if slow := run.PaceWarning(begins); slow != "" {
			u.warn("%s", slow)
		}
		howFast = run.PaceWords(begins)
	}
	u.emit(run.StepEnded{Step: run.StepPreflight, Words: fmt.Sprintf("same cluster, revision %d, %d of %d members answer; %d archived objects to put back",
		facts.Revision, facts.Answering(), len(facts.Members), u.survey.total) + howFast})
	return r, nil
}

// checkLive looks at the cluster itself. What is measured over a while is measured at the same time.
func (u *undoer) checkLive(ctx context.Context, r *refusals) error {
	var nodes *plan.NodeWatch
	var err error
	if len(u.survey.starting) > 0 {
		if nodes, err = plan.WatchNodes(ctx, u.Cluster, u.Plan.Header.Prefix); err != nil {
			return run.Unhealthy(err)
		}
	}
	if err := u.checkNamespaces(ctx, r); err != nil {
		return err
	}
	if err := u.warnOfOwners(ctx); err != nil {
		return err
	}
	if err := u.checkControllers(ctx, r); err != nil || nodes == nil {
		return err
	}
	states, err := nodes.Finish(ctx, u.LeaseDuration)
	if err != nil {
		return run.Unhealthy(err)
	}
	u.warnOfStarts(states)
	return nil
}

func (u *undoer) checkAlarms(r *refusals, facts *run.Facts) {
	for _, alarm := range facts.Alarms {
		if alarm.Kind == run.NoSpace {
			r.Refuse("compact, defragment and disarm first, and leave room for what comes back",
				"member %s has the alarm NOSPACE: etcd takes nothing new", alarm.Member)
		}
	}
}

func (u *undoer) checkSelection(r *refusals) {
	missing := u.Only.missing(u.survey.found)
	for _, key := range missing {
		r.Refuse("the keys that can be put back are those in the plan, and in the archive of the run", "the run has not deleted %s", key)
	}
	if u.survey.total == 0 && len(missing) == 0 && !u.Only.all() {
		r.Refuse("look at the plan with show, and select something else", "nothing that the run has deleted meets%s", u.Only)
	}
}

// checkNamespaces makes sure that objects go into namespaces that are there to stay: one that is terminating is emptied again, and
// one whose record cannot be read may be.
func (u *undoer) checkNamespaces(ctx context.Context, r *refusals) error {
	resource, _ := decode.Lookup(schema.GroupKind{Kind: "Namespace"})
	names := slices.Sorted(maps.Keys(u.survey.namespaces))
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = resource.Key(u.Plan.Header.Prefix, "", name)
	}
	records, err := u.getAll(ctx, keys)
	if err != nil {
		return err
	}
	for i, record := range records {
		own := u.survey.namespaces[names[i]]
		if own.terminating {
			u.warn("the namespace %s was terminating when it went, and comes back so: kube-controller-manager empties it again when it runs", names[i])
		}
		if record == nil {
			if own.uid == "" {
				r.Refuse("make the namespace first, with kubectl once the API answers, or leave what is in it out with --only", "the namespace %s is absent", names[i])
			}
			continue
		}
		object, err := record.Decode()
		if err == nil && own.uid != "" && object.UID != own.uid {
			u.warn("the namespace %s was made again, with another UID: what is put back goes into that one", names[i])
		}
		switch {
		case err == nil && object.Terminating() && own.terminating && object.UID == own.uid: // put back by an earlier attempt, or never gone
		case err == nil && object.Terminating():
			r.Refuse("wait until it is gone, and make it anew; or leave what is in it out with --only",
				"the namespace %s is terminating: whatever is put into it is deleted again", names[i])
		case err != nil && slices.Contains(u.Allow, AllowUnreadableNamespaces):
			u.warn("the record of the namespace %s cannot be read, so it may be terminating: %v", names[i], err)
		case err != nil:
			r.Refuse("once kubectl get namespace "+names[i]+" says Active, --allow "+AllowUnreadableNamespaces+" accepts it; or leave what is in it out with --only",
				"the record of the namespace %s cannot be read, so it may be terminating, and whatever is put into it deleted again: %v", names[i], err)
		}
	}
	return nil
}

// watchControllers begins to watch kube-controller-manager. The returned function ends the watch.
func (u *undoer) watchControllers(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	interval := min(controllers.DefaultInterval, u.LeaseDuration/4)
	u.controllers = controllers.Start(ctx, u.Cluster, u.Plan.Header.Prefix, interval, u.Now)
	return func() {
		cancel()
		u.controllers.Wait()
	}
}

// checkControllers makes sure that no kube-controller-manager is alive.
func (u *undoer) checkControllers(ctx context.Context, r *refusals) error {
	u.emit(run.StepBegan{Step: run.StepControllers})
	sight, err := u.controllers.Await(ctx, u.LeaseDuration)
	if err != nil {
		return err
	}
	u.emit(run.StepEnded{Step: run.StepControllers, Words: sight.Words(u.LeaseDuration)})
	u.emit(run.StepBegan{Step: run.StepPreflight})
	u.moves = sight.Moves
	if !sight.Moving {
		if !sight.Found {
			u.warn("no record of kube-controller-manager was found; if it runs without leader election, stop it now, and start it when this is done")
		}
		return nil
	}
	who := "kube-controller-manager is alive (" + sight.Holder + "), and "
	switch {
	case u.deleted.holders[sight.Holder]:
		who += "is the one that saw the sweep: its garbage collector remembers the owners as absent, and deletes what is put back"
	case u.deleted.watched:
		who += "is not the one that was alive during the sweep: it makes new pods while the old ones are put back"
	default:
		who += "nobody has seen whether it saw the sweep: if it did, its garbage collector remembers the owners as absent"
	}
	if u.allowsLive() {
		u.warn("%s", who)
		return nil
	}
	r.Refuse(u.stopWords()+"\nundo, and start it again (a restart before is not enough: it would race with this);\n"+
		"measured: pods put back before their Job were destroyed, 200 of 200 within 20 s; with the Job first, it made 200 new pods and\n"+
		"deleted the surplus; stopped before and started after, 200 identical pods came back, none new; --allow "+AllowLiveControllers+" accepts that", "%s", who)
	return nil
}

func (u *undoer) allowsLive() bool { return slices.Contains(u.Allow, AllowLiveControllers) }

func (u *undoer) stopWords() string {
	return cmp.Or(u.StopWords, "stop kube-controller-manager on every control-plane node")
}

// checkStill stops the undo if a kube-controller-manager has begun to move since preflight: what comes back from here on would
// be deleted again, or be there twice.
func (u *undoer) checkStill() error {
	sight := u.controllers.Sight()
	if sight.Moves == u.moves || u.allowsLive() {
		return nil
	}
	err := u.note(journal.Frame{Controllers: &journal.Controllers{Key: sight.Key, Holder: sight.Holder, Moving: true}})
	return errors.Join(&run.HealthError{
		Err: fmt.Errorf("kube-controller-manager was started while this puts back (%s)", sight.Holder),
		Advice: u.stopWords() + "\nand give the same command again: it goes on where it stood;\n" +
			"what was deleted again meanwhile is named at the end, and comes back when the command is given once more",
	}, err)
}

// warnOfOwners says whose owner stays away because it was not selected.
func (u *undoer) warnOfOwners(ctx context.Context) error {
	var keys []string
	var nodes []*node
	for _, uid := range slices.Sorted(maps.Keys(u.survey.owned)) {
		if n := u.survey.owners[uid]; !n.selected {
			nodes, keys = append(nodes, n), append(keys, n.key)
		}
	}
	records, err := u.getAll(ctx, keys)
	if err != nil {
		return err
	}
	var absent []string
	for i, record := range records {
		if record != nil {
			if object, err := record.Decode(); err == nil && object.UID == nodes[i].uid {
				continue
			}
		}
		absent = append(absent, nodes[i].key)
	}
	if len(absent) > 0 {
		u.warn("the owner of some of this is not put back, so a garbage collector deletes it again: %s", some(absent))
	}
	return nil
}

// warnOfStarts says which pods start again.
func (u *undoer) warnOfStarts(states plan.Nodes) {
	var pods int64
	var live []string
	for _, node := range slices.Sorted(maps.Keys(u.survey.starting)) {
		if states.State(node) != plan.NodeDead {
			live = append(live, node)
			pods += u.survey.starting[node]
		}
	}
	if pods > 0 {
		u.warn("%d pods start again, on nodes that are not known to be dead: %s", pods, some(live))
	}
}

func (u *undoer) warnOfArchive() {
	if u.survey.torn {
		u.warn("the archive ends within a frame, as after a crash: nothing in that frame was deleted")
	}
	if u.survey.unreadable > 0 {
		u.warn("%d archived objects cannot be read, such as encrypted ones: they are put back as they were, but neither their owners nor their namespaces are known", u.survey.unreadable)
	}
}

// getAll reads keys in pages.
func (u *undoer) getAll(ctx context.Context, keys []string) ([]*decode.Record, error) {
	var all []*decode.Record
	for page := range slices.Chunk(keys, pageKeys) {
		records, err := run.Retry(ctx, u.Pace, func(ctx context.Context) ([]*decode.Record, error) { return u.Cluster.GetAll(ctx, page) })
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	return all, nil
}

// some names a few of many.
func some(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
