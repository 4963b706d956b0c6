package decode

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Name returns what kubectl calls the resource: "pods", "deployments.apps", "reports.policy.example.com".
func (r Resource) Name() string {
	if r.GroupKind.Group == "" {
		return r.plural()
	}
	return r.plural() + "." + r.GroupKind.Group
}

// Called reports whether a name means the resource: its [Resource.Name], or its plural or kind with or without the group, in
// any case.
func (r Resource) Called(name string) bool {
	word, group, qualified := strings.Cut(strings.ToLower(name), ".")
	return (word == r.plural() || word == strings.ToLower(r.GroupKind.Kind)) && (!qualified || group == r.GroupKind.Group)
}

// plural returns the plural of the kind, which is the end of the path but for a few that are older than that rule.
func (r Resource) plural() string {
	switch r.Path {
	case "controllers":
		return "replicationcontrollers"
	case "minions":
		return "nodes"
	case "services/specs":
		return "services"
	case "ingress":
		return "ingresses"
	case "podsecuritypolicy":
		return "podsecuritypolicies"
	default:
		return path.Base(r.Path)
	}
}

// LookupName finds a built-in resource as people call it: see [Resource.Called]. Without a group each name means one.
func LookupName(name string) (Resource, bool) {
	for _, r := range BuiltIns() {
		if r.Called(name) {
			return r, true
		}
	}
	if word, group, qualified := strings.Cut(name, "."); qualified { // a group of old
		for _, r := range BuiltIns() {
			if r.Called(word) && stored(schema.GroupKind{Group: strings.ToLower(group), Kind: r.GroupKind.Kind}) == r.GroupKind {
				return r, true
			}
		}
	}
	return Resource{}, false
}
