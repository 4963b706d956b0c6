package plan

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// Identify reads what tells this cluster from others. Where Namespace kube-system cannot be found or read there is no
// Kubernetes under the prefix, and nothing to plan: a *RefusedError.
func Identify(ctx context.Context, source Source, clusterID, prefix string) (Identity, error) {
	key := systemNamespaceKey(prefix)
	record, err := source.Get(ctx, key)
	if err != nil {
		return Identity{}, err
	}
	if record == nil {
		return Identity{}, &RefusedError{
			Reason: "there is no " + key + ", so this is no Kubernetes cluster, or not under this prefix",
			Advice: "compare --etcd-prefix with kube-apiserver's",
		}
	}
	object, err := record.Decode()
	if err != nil {
		return Identity{}, &RefusedError{
			Reason: fmt.Sprintf("the cluster's identity cannot be read: %s: %v", key, err),
			Advice: "the UID of Namespace kube-system tells this cluster from others; without it nothing is planned or deleted",
		}
	}
	return Identity{ClusterID: clusterID, SystemUID: object.UID}, nil
}

func systemNamespaceKey(prefix string) string {
	namespaces, _ := decode.Lookup(schema.GroupKind{Kind: "Namespace"})
	return namespaces.Key(prefix, "", "kube-system")
}
