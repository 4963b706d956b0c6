package caches

import (
	"context"
	"fmt"
	"iter"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

// Etcd is what a comparison needs of the cluster.
type Etcd interface {
	// Revision returns the newest revision, read linearizably at any key that may be read.
	Revision(ctx context.Context, key string) (int64, error)
	// ScanKeys yields the records under a prefix without their values, in the order of their keys; an error is the last pair.
	ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error]
	// GetAll reads many keys; what is absent is nil.
	GetAll(ctx context.Context, keys []string) ([]*decode.Record, error)
}

// Apiserver is what a comparison needs of a kube-apiserver.
type Apiserver interface {
	URL() string
	// NamespaceUID returns the UID of a Namespace.
	NamespaceUID(ctx context.Context, name string) (string, error)
	// Cached returns what the watch cache holds of a kind in a namespace, or of what is in no namespace: the revision of each
	// object's last change, by "namespace/name" or "name"; and the revision that the cache has come to.
	Cached(ctx context.Context, kind schema.GroupKind, namespace string) (objects map[string]int64, revision int64, err error)
}

// DefaultPatience is how long a cache that has not come to etcd's revision is read again. A watch delivers within milliseconds; an
// apiserver that drowns takes seconds.
const DefaultPatience = 30 * time.Second

const again = 500 * time.Millisecond // between two looks at a cache that is behind

// Config is one comparison.
type Config struct {
	Plan       *plan.File
	Etcd       Etcd
	Apiservers []Apiserver
	Patience   time.Duration
}

// Compare compares each apiserver's watch cache with etcd, wherever the plan had anything to delete. What an apiserver does not
// answer is in the report; an error is etcd's, or a *plan.RefusedError: an apiserver of another cluster would show nothing but ghosts.
func Compare(ctx context.Context, config Config) (*Report, error) {
	places, err := Places(config.Plan)
	if err != nil {
		return nil, err
	}
	report := &Report{Plan: config.Plan.ID}
	for _, a := range config.Apiservers {
		seen, err := config.look(ctx, a, places)
		if err != nil {
			return nil, err
		}
		report.Apiservers = append(report.Apiservers, seen)
	}
	return report, nil
}

// look compares one apiserver.
func (c *Config) look(ctx context.Context, a Apiserver, places []Place) (Seen, error) {
	seen := Seen{URL: a.URL()}
	const system = "kube-system"
	uid, err := a.NamespaceUID(ctx, system)
	switch {
	case ctx.Err() != nil:
		return seen, ctx.Err()
	case err != nil:
		seen.Error = err.Error()
		return seen, nil
	case uid != c.Plan.Header.Cluster.SystemUID:
		return seen, &plan.RefusedError{
			Reason: fmt.Sprintf("%s serves another cluster: its Namespace %s has UID %s, the plan's %s", a.URL(), system, uid, c.Plan.Header.Cluster.SystemUID),
			Advice: "give the kubeconfig of the cluster that the plan was made for",
		}
	}
	for _, place := range places {
		view, err := c.compare(ctx, a, place)
		if err != nil {
			return seen, err
		}
		seen.Views = append(seen.Views, view)
	}
	return seen, nil
}

// compare compares one place, until the difference is certain, or patience is at its end.
func (c *Config) compare(ctx context.Context, a Apiserver, place Place) (View, error) {
	view := View{Resource: place.Resource.GroupKind.String(), Namespace: place.Namespace}
	stored, err := c.read(ctx, place)
	if err != nil {
		return view, err
	}
	patience := time.NewTimer(c.Patience)
	defer patience.Stop()
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		objects, revision, err := a.Cached(ctx, place.Resource.GroupKind, place.Namespace)
		switch {
		case ctx.Err() != nil:
			return view, ctx.Err()
		case err != nil:
			view.Error = err.Error()
			return view, nil
		}
		d, certain := judge(&stored, &cached{revision, objects})
		if d.missing, err = c.stillThere(ctx, place, &stored, d.missing); err != nil {
			return view, err
		}
		view.set(len(objects), revision, d, !certain && !d.empty())
		if !view.Behind {
			return view, nil
		}
		select {
		case <-tick.C:
		case <-patience.C:
			return view, nil
		case <-ctx.Done():
			return view, ctx.Err()
		}
	}
}

// read reads what etcd holds of a place.
func (c *Config) read(ctx context.Context, place Place) (stored, error) {
	prefix := c.Plan.Header.Prefix
	s := stored{objects: map[string]int64{}}
	var err error
	if s.before, err = c.Etcd.Revision(ctx, prefix+"/"); err != nil {
		return s, err
	}
	for record, err := range c.Etcd.ScanKeys(ctx, place.Resource.NamespacePrefix(prefix, place.Namespace)) {
		if err != nil {
			return s, err
		}
		namespace, name, err := place.Resource.Parse(prefix, record.Key)
		if err != nil {
			continue // no apiserver would find an object there
		}
		s.objects[named(namespace, name)] = record.ModRevision
	}
	s.after, err = c.Etcd.Revision(ctx, prefix+"/")
	return s, err
}

// stillThere returns those of the names that stand in etcd as they did.
func (c *Config) stillThere(ctx context.Context, place Place, s *stored, names []string) (there []string, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = place.Resource.NamespacePrefix(c.Plan.Header.Prefix, "") + name
	}
	records, err := c.Etcd.GetAll(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		if record != nil && record.ModRevision == s.objects[names[i]] {
			there = append(there, names[i])
		}
	}
	return there, nil
}
