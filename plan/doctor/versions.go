package doctor

import (
	"strings"

	"golang.org/x/mod/semver"
)

// Flaw is something that is wrong with releases of etcd and matters to who deletes many keys.
type Flaw struct {
	Text   string
	Mended string // the releases that have it no more
	Hint   string
}

// flaw is a Flaw with the releases that have it: of each minor line those below a patch release. Lines before 3.4 have all of
// them that began before 3.5; later lines than those named have none.
type flaw struct {
	Flaw
	v34, v35 string // the first releases without it; "" if the line never had it
}

// flaws is in the order of what they can do. Where each is told: etcd's CHANGELOG-3.4.md and CHANGELOG-3.5.md, under the
// release that mends it; the numbers are pull requests'.
func flaws() []flaw {
	const later = "upgrade etcd when this night is over"
	return []flaw{
		{Flaw{"members' data can come apart when one is killed under load", "3.5.3", "do not kill members now; compare them by etcdctl endpoint hashkv; upgrade etcd"}, "", "3.5.3"},                                           // 13908
		{Flaw{"a single member can lose writes that it has confirmed, when it is killed", "3.4.21, 3.5.5", "do not kill it now; upgrade etcd"}, "3.4.21", "3.5.5"},                                                             // 14423, 14424
		{Flaw{"a member may not start again after an alarm list and a power cut", "3.5.5", later}, "", "3.5.5"},                                                                                                                // 14429
		{Flaw{"a crash while it defragments can leave members at different revisions", "3.5.6", "do not defragment before the upgrade"}, "", "3.5.6"},                                                                          // 14733
		{Flaw{"under the alarm NOSPACE every transaction is refused, deletes too", "3.4.20, 3.5.7", "if the alarm is up, delete the roots by single etcdctl del, compact, defragment, disarm, then sweep"}, "3.4.20", "3.5.7"}, // 14254, 14884
		{Flaw{"reads can show keys that a transaction has deleted", "3.5.12", later}, "", "3.5.12"},                                                                                                                            // 17230
		{Flaw{"a slow watcher can skip events: controllers then believe in pods that are gone", "3.4.31, 3.5.13", "restart kube-apiserver after the sweep, one after the other"}, "3.4.31", "3.5.13"},                          // 17612
		{Flaw{"compaction at a delete's revision loses the delete for watchers", "3.4.34, 3.5.16", "do not compact right after the sweep: wait until slow watchers and pending events are 0"}, "3.4.34", "3.5.16"},
	}
}

// Flaws returns what is known to be wrong with a release.
func Flaws(version string) []Flaw {
	v := canonical(version)
	var all []Flaw
	for _, f := range flaws() {
		var first string
		switch line := semver.MajorMinor(v); {
		case line == "": // it is none
		case semver.Compare(line, "v3.4") <= 0:
			first = f.v34
		case line == "v3.5":
			first = f.v35
		}
		if first != "" && semver.Compare(release(v), "v"+first) < 0 {
			all = append(all, f.Flaw)
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
