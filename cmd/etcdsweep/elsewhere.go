package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"etcdsweep/decode"
	"etcdsweep/etcdops"
	"etcdsweep/plan"
)

// elsewhere returns what is kept in other etcds. Only resources that kube-apiserver itself serves can be: it takes no notice
// of an override for custom resources, their definitions and APIServices (kubernetes pkg/controlplane/apiserver,
// apiextensions.go and aggregator.go, have a storage factory without overrides).
func (r *registry) elsewhere() []plan.Elsewhere {
	var all []plan.Elsewhere
	for _, override := range r.overrides {
		resource, found := decode.LookupName(strings.TrimSuffix(override.Resource.Resource+"."+override.Resource.Group, "."))
		if found && !strings.Contains(resource.Path, ".") {
			all = append(all, plan.Elsewhere{
				Prefix:    resource.NamespacePrefix(r.prefix, ""),
				Endpoints: strings.Join(override.Endpoints, ","),
			})
		}
	}
	return all
}

// openElsewhere lets a client read what is kept in other etcds. They are reached as the first one is. One that does not answer
// is a warning, until something is to be read there.
func (o *connectOptions) openElsewhere(ctx context.Context, client *etcdops.Client, w io.Writer) error {
	failed := map[string]error{}
	for _, place := range o.registry.elsewhere() {
		config := o.config
		config.Endpoints, config.MetricsEndpoints = strings.Split(place.Endpoints, ","), nil
		slices.Sort(config.Endpoints)
		key := strings.Join(config.Endpoints, ",")
		err, known := failed[key]
		var other *etcdops.Client
		if !known {
			other, _, err = etcdops.Connect(ctx, config)
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if err != nil && !known {
			failed[key] = err
			warn(w, fmt.Sprintf("%s is kept in another etcd: %v", place.Prefix, err))
		}
		client.KeepElsewhere(place.Prefix, other, err)
	}
	return nil
}
