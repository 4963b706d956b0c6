package plan

import (
	"slices"
	"strings"
)

// Never says why a key is never deleted, whatever was allowed; "" if it may be. The prefix is kube-apiserver's
// --etcd-prefix. What lies outside of it is none of Kubernetes' objects, and never deleted either.
//
// No plan is built with such an entry, and a plan file that holds one is refused.
func Never(prefix, key string) (why string) {
	if key == "compact_rev_key" {
		return "kube-apiserver's compaction rests on it"
	}
	tail, ok := strings.CutPrefix(key, prefix+"/")
	if !ok {
		return "it is not under " + prefix + "/"
	}
	for _, rule := range []struct{ path, why string }{
		{"compact_rev_key", "kube-apiserver's compaction rests on it"},
		{"ranges", "it says which cluster IPs and node ports are taken"},
		{"masterleases", "the endpoints of Service kubernetes are made from it"},
		{"peerserverleases", "kube-apiservers find each other by it"},
		{"apiextensions.k8s.io", "without a CustomResourceDefinition all of its objects go"},
		{"apiregistration.k8s.io", "without an APIService a part of the API is gone"},
		{"minions", "without a Node all of its pods go"},
	} {
		if tail == rule.path || strings.HasPrefix(tail, rule.path+"/") {
			return rule.why
		}
	}
	if lease, ok := strings.CutPrefix(tail, "leases/"); ok {
		if namespace, _, _ := strings.Cut(lease, "/"); protected(namespace) {
			return "leases of " + namespace + " say which components and nodes are alive"
		}
	}
	return ""
}

// protected reports whether a namespace holds the cluster itself.
func protected(namespace string) bool {
	return slices.Contains([]string{"kube-system", "kube-public", "kube-node-lease"}, namespace)
}
