package plan

import (
	"fmt"
	"strings"
)

// Elsewhere is a part of the registry that is kept in another etcd than the rest (kube-apiserver's
// --etcd-servers-overrides). Nothing of it comes into a plan: one snapshot, one watch and one row of revisions are of one
// etcd.
type Elsewhere struct {
	Prefix    string // of its keys, with a trailing slash
	Endpoints string // of that etcd, in words
}

// KeptElsewhere returns where a key is kept, or all keys with a prefix are; nil for the etcd that is planned for.
func (o *Options) KeptElsewhere(key string) *Elsewhere {
	for i := range o.Elsewhere {
		if strings.HasPrefix(key, o.Elsewhere[i].Prefix) {
			return &o.Elsewhere[i]
		}
	}
	return nil
}

// checkPlace refuses what is kept elsewhere. As collateral it could not be put back.
func (o *Options) checkPlace(key string) error {
	e := o.KeptElsewhere(key)
	if e == nil {
		return nil
	}
	return &RefusedError{
		Reason: fmt.Sprintf("%s would go, and is kept in another etcd, %s: a plan is for one etcd", key, e.Endpoints),
		Advice: "kube-apiserver's --etcd-servers-overrides says so, and nothing lifts this; without --with-events events stay, and --keep-roots leaves owners and what goes with them",
	}
}
