package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// Keys opens encrypted values with the keys of one EncryptionConfiguration. It implements [decode.Opener], and is safe for
// concurrent use.
type Keys struct {
	prefix  string
	builtIn map[string]schema.GroupResource // by path
	rules   map[schema.GroupResource][]provider
	plugins []*plugin
}

// provider opens what begins with its prefix, as "k8s:enc:aescbc:v1:key1:".
type provider struct {
	prefix []byte
	opener opener
}

// opener decrypts what follows a provider's prefix. The key is the etcd key. Errors are of type *sealedError, or that of ctx.
type opener interface {
	open(ctx context.Context, key string, sealed []byte) ([]byte, error)
}

// sealedError says why a value could not be opened.
type sealedError struct {
	why decode.Why
	err error
}

func (e *sealedError) Error() string { return string(e.why) + ": " + e.err.Error() }
func (e *sealedError) Unwrap() error { return e.err }

func newKeys(prefix string) *Keys {
	k := &Keys{
		prefix:  prefix + "/",
		builtIn: map[string]schema.GroupResource{},
		rules:   map[schema.GroupResource][]provider{},
	}
	for _, resource := range decode.BuiltIns() {
		k.builtIn[resource.Path] = schema.ParseGroupResource(resource.Name())
	}
	return k
}

// Open sets Plain or Sealed of a record whose value is encrypted. The error is that of ctx.
func (k *Keys) Open(ctx context.Context, r *decode.Record) error {
	encryption := decode.Encryption(r.Value)
	if encryption == nil {
		return nil
	}
	plain, err := k.open(ctx, r.Key, r.Value)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		r.Plain, r.Sealed = plain, nil
		return nil
	}
	encryption.Err = err
	if sealed, ok := errors.AsType[*sealedError](err); ok {
		encryption.Why, encryption.Err = sealed.why, sealed.err
	}
	r.Plain, r.Sealed = nil, encryption
	return nil
}

// open tries every provider whose prefix fits, in order: there may be several keys of one name.
func (k *Keys) open(ctx context.Context, key string, value []byte) ([]byte, error) {
	resource := k.resource(key)
	err := error(&sealedError{decode.NoSuchKey, fmt.Errorf("the configuration has no key of that name for %s", resource)})
	for _, p := range k.rule(resource) {
		sealed, ok := bytes.CutPrefix(value, p.prefix)
		if !ok {
			continue
		}
		var plain []byte
		if plain, err = p.opener.open(ctx, key, sealed); err == nil {
			return plain, nil
		}
	}
	return nil, err
}

// rule returns what kube-apiserver tries for a resource.
func (k *Keys) rule(resource schema.GroupResource) []provider {
	for _, name := range [...]schema.GroupResource{resource, {Group: resource.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
		if rule, ok := k.rules[name]; ok {
			return rule
		}
	}
	return nil
}

// resource tells from an etcd key what an EncryptionConfiguration calls the resource.
func (k *Keys) resource(key string) schema.GroupResource {
	tail := strings.TrimPrefix(key, k.prefix)
	first, rest, _ := strings.Cut(tail, "/")
	if resource, ok := k.builtIn[first]; ok {
		return resource
	}
	second, _, _ := strings.Cut(rest, "/")
	if resource, ok := k.builtIn[first+"/"+second]; ok {
		return resource
	}
	if strings.Contains(first, ".") {
		return schema.GroupResource{Group: first, Resource: second}
	}
	return schema.GroupResource{Resource: first}
}

// Close ends the connections to plugins. Values that need one stay sealed from then on.
func (k *Keys) Close() error {
	var errs []error
	for _, p := range k.plugins {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}
