package etcdops

import (
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

// NotEtcdError is something that speaks etcd's API and is no etcd, such as kine, which keeps Kubernetes' objects in an SQL
// database. It has no members, no snapshots and no revisions that one could rely on.
type NotEtcdError struct {
	Sign string // by which it was recognised
	Name string // that it gives itself; may be empty
}

func (e *NotEtcdError) Error() string {
	name := "what answers"
	if e.Name != "" {
		name += " calls itself " + e.Name + ", and"
	}
	return name + " is not etcd: " + e.Sign
}

// Hint says what to do instead.
func (e *NotEtcdError) Hint() string {
	return "kine and its like have no snapshots and no members: nothing can be proved or put back there; back up its database, and delete by kubectl"
}

// imposterInList recognises one by its list of members. kine gives none (before 0.10), or one with a single member that has
// no ID (kine pkg/server/cluster.go).
func imposterInList(list *clientv3.MemberListResponse, err error) error {
	switch {
	case errorCode(err) == codes.Unimplemented:
		return &NotEtcdError{Sign: "it has no list of members"}
	case err != nil:
		return nil
	case len(list.Members) == 0 || list.Header.GetClusterId() == 0:
		return &NotEtcdError{Sign: "it belongs to no cluster", Name: nameOf(list.Members)}
	case slices.ContainsFunc(list.Members, func(m *etcdserverpb.Member) bool { return m.ID == 0 }):
		return &NotEtcdError{Sign: "its member has no ID", Name: nameOf(list.Members)}
	}
	return nil
}

func nameOf(members []*etcdserverpb.Member) string {
	if len(members) == 0 {
		return ""
	}
	return members[0].Name
}

// imposterInAnswers recognises one by how it says it is: every etcd that answers has an ID, and a raft term.
func imposterInAnswers(answers []answer) error {
	for _, a := range answers {
		if a.err == nil && (a.status.GetHeader().GetMemberId() == 0 || a.status.RaftTerm == 0) {
			return &NotEtcdError{Sign: "it has no raft"}
		}
	}
	return nil
}
