package decode

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource says where the objects of one kind are stored: under <prefix>/<Path>[/<namespace>]/<name>.
//
// A prefix, here and below, is kube-apiserver's --etcd-prefix without a trailing slash, as "/registry".
type Resource struct {
	GroupKind  schema.GroupKind
	Path       string // "pods"; "services/specs"; "<group>/<plural>" for a custom resource
	Namespaced bool
}

// Resource returns where the custom resources are stored that a CustomResourceDefinition defines: <group>/<plural>. It
// fails if the definition leaves anything of that open, or if it is not the one of its own name, <plural>.<group>.
func (o *Object) Resource() (Resource, error) {
	d := o.Definition
	switch {
	case d == nil:
		return Resource{}, fmt.Errorf("%s %s defines no resource", o.Kind, o.Name)
	case d.Plural == "" || d.Group == "" || d.Kind == "" || strings.Contains(d.Plural+d.Group, "/"):
		return Resource{}, fmt.Errorf("CustomResourceDefinition %s defines kind %q as %q in group %q", o.Name, d.Kind, d.Plural, d.Group)
	case o.Name != d.Plural+"."+d.Group:
		return Resource{}, fmt.Errorf("CustomResourceDefinition %s defines %s.%s", o.Name, d.Plural, d.Group)
	case d.Scope != "Namespaced" && d.Scope != "Cluster":
		return Resource{}, fmt.Errorf("CustomResourceDefinition %s has scope %q", o.Name, d.Scope)
	}
	return Resource{
		GroupKind:  schema.GroupKind{Group: d.Group, Kind: d.Kind},
		Path:       d.Group + "/" + d.Plural,
		Namespaced: d.Scope == "Namespaced",
	}, nil
}

// Key returns the key of an object. The namespace is left out if the resource is cluster-scoped. The names are taken as
// they are: a name that no object can have makes a key that no object has.
func (r Resource) Key(prefix, namespace, name string) string {
	if !r.Namespaced {
		return r.root(prefix) + name
	}
	return r.root(prefix) + namespace + "/" + name
}

// NamespacePrefix returns what the keys of all objects in a namespace begin with: "/registry/pods/batch/", with the trailing
// slash, because "/registry/pods/batch" is also how pods in namespace batch-2 begin. With namespace "", or if the resource is
// cluster-scoped, it returns what the keys of all objects of the resource begin with.
func (r Resource) NamespacePrefix(prefix, namespace string) string {
	if !r.Namespaced || namespace == "" {
		return r.root(prefix)
	}
	return r.root(prefix) + namespace + "/"
}

// Parse splits the key of an object. It is the inverse of [Resource.Key]: a key with more or fewer segments, with an empty
// one, or under another path is an error.
func (r Resource) Parse(prefix, key string) (namespace, name string, err error) {
	tail, ok := strings.CutPrefix(key, prefix)
	for _, part := range [...]string{"/", r.Path, "/"} { // those of root, which is not put together for each key
		if ok {
			tail, ok = strings.CutPrefix(tail, part)
		}
	}
	if !ok {
		return "", "", fmt.Errorf("key %q is not under %s", key, r.root(prefix))
	}
	name = tail
	if r.Namespaced {
		namespace, name, ok = strings.Cut(tail, "/")
		ok = ok && namespace != ""
	}
	if !ok || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("key %q is not %s", key, r.Key(prefix, "<namespace>", "<name>"))
	}
	return namespace, name, nil
}

// Check reports whether a decoded object may stand at a key: the key parses, and names the object's own kind, namespace and
// name. If not, the error is of type [*MismatchError].
func (r Resource) Check(prefix, key string, o *Object) error {
	namespace, name, err := r.Parse(prefix, key)
	switch {
	case err != nil:
		return &MismatchError{Key: key, Err: err}
	case stored(o.GroupKind()) != stored(r.GroupKind):
		return &MismatchError{Key: key, Err: fmt.Errorf("kind is %s, not %s", o.GroupKind(), r.GroupKind)}
	case o.Namespace != namespace:
		return &MismatchError{Key: key, Err: fmt.Errorf("metadata.namespace is %q", o.Namespace)}
	case o.Name != name:
		return &MismatchError{Key: key, Err: fmt.Errorf("metadata.name is %q", o.Name)}
	default:
		return nil
	}
}

func (r Resource) root(prefix string) string { return prefix + "/" + r.Path + "/" }
