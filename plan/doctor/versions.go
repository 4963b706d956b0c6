package doctor

import (
	"strings"

	"golang.org/x/mod/semver"
)

// Flaw is something that is wrong with a release of etcd and matters to who deletes many keys.
type Flaw struct {
	Text   string
	Hint   string
	Mended string // the first release of the same line that has it no more
}

// flaw is a Flaw with the releases that have it: of each minor line those below a patch release.
type flaw struct {
	text, hint string
	mended     lines
}

// lines has the first release without a flaw, by the minor line; none if the line never had it. Lines before 3.4 have what 3.4
// has; later lines than those named have nothing.
type lines map[string]string

// flaws is in the order of what they can do, the gravest first. Where each is told: etcd's CHANGELOG-3.4.md to
// CHANGELOG-3.6.md, under the release that mends it; the numbers are pull requests'. None of them is in 3.7.
func flaws() []flaw {
	const (
		later   = "upgrade etcd when this night is over"
		restart = "restart kube-apiserver after the sweep, one after the other"
	)
	return []flaw{
		{"members' data can come apart when one is killed under load", "do not kill members now; compare them by etcdctl endpoint hashkv; upgrade etcd",
			lines{"3.5": "3.5.3"}}, // 13908
		{"a single member can lose writes that it has confirmed, when it is killed", "do not kill it now; upgrade etcd",
			lines{"3.4": "3.4.21", "3.5": "3.5.5"}}, // 14423, 14424
		{"a member that defragments while it applies a snapshot can corrupt its data", "defragment only members that have caught up, one at a time",
			lines{"3.4": "3.4.38", "3.5": "3.5.23", "3.6": "3.6.5"}}, // 20659, 20653, 20650
		{"under the alarm NOSPACE every transaction is refused, deletes too", "if the alarm is up, delete the roots by single etcdctl del, compact, defragment, disarm, then sweep",
			lines{"3.4": "3.4.20", "3.5": "3.5.7"}}, // 14254, 14884
		{"a write transaction may be applied in part", "compare members by etcdctl endpoint hashkv after the sweep; upgrade etcd",
			lines{"3.5": "3.5.17"}}, // 18799
		{"a slow watcher can skip events: controllers then believe in pods that are gone", restart,
			lines{"3.4": "3.4.31", "3.5": "3.5.13"}}, // 17612
		{"a watch that begins at the revision of a compaction misses a delete there", "do not compact right after the sweep: wait until slow watchers and pending events are 0",
			lines{"3.4": "3.4.36", "3.5": "3.5.18"}}, // 19251, 19249
		{"linearizable reads can be stale", "deletes are guarded by revisions all the same; " + later,
			lines{"3.4": "3.4.42", "3.5": "3.5.28", "3.6": "3.6.9"}}, // 21385 and 21423, 21387 and 21421, 21378 and 21417
		{"the revision can go back after a panic in compaction", "if a member ends while it compacts, restart kube-apiserver once it is back",
			lines{"3.4": "3.4.32", "3.5": "3.5.14"}}, // 17864, 17865
		{"a crash while it defragments can leave members at different revisions", "do not defragment before the upgrade",
			lines{"3.5": "3.5.6"}}, // 14733
		{"a member may not start again after an alarm list and a power cut", later,
			lines{"3.5": "3.5.5"}}, // 14429
		{"a watch goes back in time when its member gets a snapshot", restart,
			lines{"3.4": "3.4.25", "3.5": "3.5.8"}}, // 15520, 15515
		{"reads can show keys that a transaction has deleted", later,
			lines{"3.5": "3.5.12"}}, // 17230
		{"an error while it defragments ends the member", "see that its disk has room for a second file before you defragment",
			lines{"3.4": "3.4.35", "3.5": "3.5.17"}}, // 18843, 18842
		{"an old leader can revoke leases that are still kept", later,
			lines{"3.5": "3.5.13"}}, // 17425
		{"a watch on a future revision gets old events", later,
			lines{"3.4": "3.4.38", "3.5": "3.5.22", "3.6": "3.6.2"}}, // 20291, 20290, 20286
		{"a watch can get an event twice", later,
			lines{"3.4": "3.4.24", "3.5": "3.5.8"}}, // 15275, 15274
		{"where nothing was ever compacted, a watch at revision -1 makes others skip events", later,
			lines{"3.4": "3.4.38", "3.5": "3.5.24", "3.6": "3.6.6"}}, // 20711, 20709, 20707
	}
}

// Flaws returns what is known to be wrong with a release, the gravest first.
func Flaws(version string) []Flaw {
	v := canonical(version)
	line := semver.MajorMinor(v)
	if line != "" && semver.Compare(line, "v3.4") < 0 {
		line = "v3.4"
	}
	var all []Flaw
	for _, f := range flaws() {
		if first, ok := f.mended[strings.TrimPrefix(line, "v")]; ok && semver.Compare(release(v), "v"+first) < 0 {
			all = append(all, Flaw{f.text, f.hint, first})
		}
	}
	return all
}

// supported reports whether etcdsweep was made for a release.
func supported(version string) bool {
	line := semver.MajorMinor(canonical(version))
	return semver.Compare(line, "v3.4") >= 0 && semver.Compare(line, "v3.7") <= 0
}

func canonical(version string) string { return "v" + strings.TrimPrefix(version, "v") }

// release leaves out what vendors add: "v3.5.9-eks-1" has what 3.5.9 has.
func release(v string) string {
	v, _, _ = strings.Cut(v, "+")
	v, _, _ = strings.Cut(v, "-")
	return v
}
