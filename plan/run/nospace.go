package run

import (
	"fmt"
	"strings"

	"golang.org/x/mod/semver"

	"etcdsweep/plan"
)

// RefusesDeletes returns why nothing can be deleted by transactions while a member has the alarm NoSpace, if a server of that
// version refuses them then; else nil. One member that does is enough: each applies every transaction.
func RefusesDeletes(alarmed, member, version string) *plan.RefusedError {
	if passesNoSpace(version) {
		return nil
	}
	return &plan.RefusedError{
		Reason: fmt.Sprintf("member %s has the alarm NOSPACE, and etcd %s of member %s then refuses every transaction", alarmed, version, member),
		Advice: "delete the roots by single plain deletes (etcdctl del KEY), stop kube-controller-manager, then compact, defragment and disarm, and apply again",
	}
}

// passesNoSpace reports whether a server lets transactions that only delete pass under the alarm NOSPACE: 3.4.20, 3.5.7
// and all later lines do (etcd#14884 and its backports). A member that did not tell its version is not counted against.
func passesNoSpace(version string) bool {
	if version == "" {
		return true
	}
	v := "v" + strings.TrimPrefix(version, "v")
	switch semver.MajorMinor(v) {
	case "v3.4":
		return semver.Compare(v, "v3.4.20") >= 0
	case "v3.5":
		return semver.Compare(v, "v3.5.7") >= 0
	default:
		return semver.Compare(v, "v3.6.0") >= 0
	}
}
