package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"etcdsweep/plan/run"
)

const (
	// behindMany is how many raft entries a member may lag behind in applying. At 5,000 etcd refuses requests
	// (etcdserver/v3_server.go, maxGapBetweenApplyAndCommitIndex).
	behindMany = 1000
	// slowMember is how long a member's answer about itself may take: it needs no disk and no quorum.
	slowMember = 250 * time.Millisecond

	standardQuota = 2 << 30 // of etcd, where it is not set and the server does not say
	nearlyFull    = 0.8     // of the quota
	fragmented    = 0.5     // of the file that is free pages
	worthIt       = 256 << 20

	gravest = 4 // flaws of a version that are worth lines of their own; an old release has more than a screen bears
)

// nature tells etcd from what speaks its API only.
func nature(f *Facts) []Finding {
	switch {
	case f.silent():
		return nil
	case f.NotEtcd != "":
		return fail("etcd", "it has no snapshots and no members: nothing can be proved or put back there; back up its database, and delete by kubectl",
			"%s", f.NotEtcd)
	case f.MembersErr != nil:
		return fail("members", hintOf(f.MembersErr, "look at the logs of etcd's members"), "not known: %v", f.MembersErr)
	}
	return nil
}

func members(f *Facts) []Finding {
	if f.foreign() {
		return nil
	}
	var all []Finding
	voters, answering, leaders := 0, 0, 0
	var furthest uint64
	for _, m := range f.Members {
		if !m.Learner {
			voters++
			if m.Err == nil {
				answering++
			}
		}
		if m.Leader {
			leaders++
		}
		furthest = max(furthest, m.Applied)
	}
	switch {
	case answering <= voters/2:
		all = fail("members", "bring a majority of the voting members back first", "%d of %d that vote answer: no quorum", answering, voters)
	case answering < voters:
		all = fail("members", "bring it back; apply refuses to start, or, with --allow degraded, goes slowly", "%d of %d that vote answer", answering, voters)
	case leaders != 1:
		all = fail("members", "look again in a moment; if it stays so, look at the network between the members", "%d of them lead", leaders)
	case voters%2 == 0:
		all = warn("members", "an even number bears no more failures than one fewer", "%d vote", voters)
	default:
		all = ok("members", "%d of %d that vote answer, %s leads", answering, voters, f.leader())
	}
	for _, m := range f.Members {
		switch {
		case m.Err != nil:
			all = append(all, warn("member "+m.Name, "start it, or, if it is not to come back, replace it", "%v", m.Err)...)
			continue
		case m.Learner:
			all = append(all, warn("member "+m.Name, "promote it, or remove it: as long as it learns it bears no failure", "it is a learner, and does not vote")...)
		}
		if behind := furthest - m.Applied; behind > behindMany {
			all = append(all, warn("member "+m.Name, "look at its disk and its network; wait until it has caught up",
				"it is %s raft entries behind", humanize.Comma(int64(behind)))...)
		}
		if m.Latency > slowMember {
			all = append(all, warn("member "+m.Name, "look at its machine: this answer needs neither disk nor quorum", "it took %s to tell how it is", m.Latency.Round(time.Millisecond))...)
		}
	}
	return all
}

func (f *Facts) leader() string {
	i := slices.IndexFunc(f.Members, func(m Member) bool { return m.Leader })
	return f.Members[i].Name
}

// space judges files against quotas, and alarms.
func space(f *Facts) []Finding {
	if f.foreign() {
		return nil
	}
	var all []Finding
	for _, a := range f.Alarms {
		switch a.Kind {
		case "CORRUPT":
			all = append(all, fail("alarms", "mend the cluster first: replace the member whose data differ", "member %s: CORRUPT, members hold different data", a.Member)...)
		case run.NoSpace:
			all = append(all, noSpace(f, a.Member)...)
		default:
			all = append(all, fail("alarms", "see etcdctl alarm list", "member %s: %s", a.Member, a.Kind)...)
		}
	}
	var largest *Member
	for i := range f.Members {
		m := &f.Members[i]
		if m.Err != nil {
			continue
		}
		if largest == nil || m.DBSize > largest.DBSize {
			largest = m
		}
		quota, says := m.Quota, "of its quota of "
		if quota == 0 {
			quota, says = standardQuota, "of etcd's standard quota, which this version does not tell, of "
		}
		if share := float64(m.DBSize) / float64(quota); share >= nearlyFull {
			all = append(all, warn("space", "sweep, then compact and defragment: only that shrinks the file; raise --quota-backend-bytes if it is lower than it need be",
				"member %s: the file is %s, %.0f%% %s%s", m.Name, bytes(m.DBSize), 100*share, says, bytes(quota))...)
		}
		if free := m.DBSize - m.InUse; m.DBSize > worthIt && float64(free) > fragmented*float64(m.DBSize) {
			all = append(all, warn("space", "defragment one member at a time, followers first, after the sweep",
				"member %s: %s of its file of %s are free pages", m.Name, bytes(free), bytes(m.DBSize))...)
		}
	}
	switch {
	case len(all) > 0 || largest == nil:
	case f.Quorum != nil: // which a list of alarms needs
		return ok("space", "files up to %s; alarms are not known", bytes(largest.DBSize))
	default:
		return ok("space", "files up to %s, no alarms", bytes(largest.DBSize))
	}
	return all
}

// noSpace says whether apply can work while a member has the alarm. Each server that refuses is told in apply's own words.
func noSpace(f *Facts, alarmed string) []Finding {
	var all []Finding
	for _, m := range f.Members {
		if refused := run.RefusesDeletes(alarmed, m.Name, m.Version); refused != nil {
			all = append(all, fail("alarms", refused.Hint(), "%s", refused.Reason)...)
		}
	}
	if len(all) > 0 {
		return all
	}
	return warn("alarms", "deletes pass: sweep, then compact, defragment, and disarm", "member %s: NOSPACE, writes other than deletes are refused", alarmed)
}

// versions tells what is known to be wrong with the versions that run.
func versions(f *Facts) []Finding {
	if f.foreign() {
		return nil
	}
	var order []string
	who := map[string][]string{}
	for _, m := range f.Members {
		if m.Err == nil {
			if who[m.Version] == nil {
				order = append(order, m.Version)
			}
			who[m.Version] = append(who[m.Version], m.Name)
		}
	}
	slices.Sort(order)
	var all []Finding
	for _, version := range order {
		if !supported(version) {
			all = append(all, warn("version", "etcdsweep was tested with 3.4 to 3.7", "etcd %s on %s", version, strings.Join(who[version], ", "))...)
		}
		for i, flaw := range Flaws(version) {
			found := warn("version", flaw.Hint, "etcd %s on %s: %s (mended in %s)", version, strings.Join(who[version], ", "), flaw.Text, flaw.Mended)
			found[0].Lesser = i >= gravest
			all = append(all, found...)
		}
	}
	if len(order) > 1 {
		all = append(all, warn("version", "finish the upgrade, or know why not", "members differ: %s", strings.Join(order, ", "))...)
	}
	if len(all) == 0 && len(order) > 0 {
		return ok("version", "etcd %s: nothing known against it", order[0])
	}
	return all
}

// The milliseconds that half of the linearizable reads take where etcd is slow, and where work is hopeless. A few slow ones among
// quick ones say more of this machine than of etcd, and apply measures them for itself.
const (
	slowReads     = 100
	hopelessReads = 1000
)

func quorum(f *Facts) []Finding {
	switch {
	case f.foreign():
		return nil
	case f.Quorum != nil:
		return fail("latency", hintOf(f.Quorum, "bring a majority of the voting members back first"), "no quorum answers: %v", f.Quorum)
	case len(f.Latency) == 0:
		return nil
	}
	sorted := slices.Sorted(slices.Values(f.Latency))
	p50, p95 := sorted[len(sorted)/2], sorted[len(sorted)*95/100]
	text := fmt.Sprintf("linearizable reads: p50 %.1f ms, p95 %.1f ms", p50, p95)
	switch {
	case p50 >= hopelessReads:
		return fail("latency", "find what loads etcd, or its disk, and stop that first", "%s", text)
	case p50 >= slowReads:
		return warn("latency", "apply begins at its lowest rate here, and measures again when the roots are gone", "%s", text)
	}
	return ok("latency", "%s", text)
}

func bytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func itoa(n int64) string { return humanize.Comma(n) }
