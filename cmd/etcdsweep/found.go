package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"etcdsweep/etcdops/locate"
)

// registry is what has to be known of a cluster to read what kube-apiserver keeps in etcd. It is complete once connected.
type registry struct {
	prefix           string            // kube-apiserver's --etcd-prefix, as "/registry"
	encryptionConfig string            // file with kube-apiserver's EncryptionConfiguration; "" if there is none
	overrides        []locate.Override // resources that are kept in another etcd
}

const defaultPrefix = "/registry"

// find completes the options by what this node's files tell, and says so. What is given, by flag or variable, wins. The
// connection is taken whole or not at all: named says that a part of it is given. What was found then says nothing of the
// cluster, unless an endpoint is the same.
func (o *connectOptions) find(named bool, w io.Writer) error {
	found, err := locate.Find(o.nodeRoot)
	unusable, ok := errors.AsType[*locate.UnusableError](err)
	if err != nil && !(ok && named) {
		return err
	}
	way := found.Way
	switch {
	case unusable != nil:
		fmt.Fprintf(w, "found and not used, because another way is given:\n  %s\n", unusable)
		return nil
	case way == nil && named:
		return nil
	case way == nil && o.nodeRoot != "/":
		return usagef("--%s %s: no file below it says where etcd is", nodeRootFlag, o.nodeRoot)
	case way == nil:
		fmt.Fprintf(w, "no file of this node says where etcd is; trying %s\n", strings.Join(o.config.Endpoints, ","))
	case !named:
		o.config.Endpoints, o.config.CACert, o.config.Cert, o.config.Key = way.Endpoints, way.CACert, way.Cert, way.Key
		o.takeRegistry(way)
		fmt.Fprintf(w, "found %s:\n", way.How)
		tellFound(w, "in", way.File)
		tellFound(w, "endpoints", strings.Join(way.Endpoints, ","))
		tellFound(w, "certificate", way.Cert)
		o.registry.tell(w)
	case sameEtcd(way.Endpoints, o.config.Endpoints):
		o.takeRegistry(way)
		if way.Prefix == "" && way.EncryptionConfig == "" && len(way.Overrides) == 0 {
			return nil
		}
		fmt.Fprintf(w, "found %s, for the same etcd:\n", way.How)
		tellFound(w, "in", way.File)
		o.registry.tell(w)
	default:
		fmt.Fprintf(w, "found and not used, because another etcd is given:\n  %s (%s)\n", way.File, way.How)
		return nil
	}
	for _, left := range found.LeftOut {
		tellFound(w, "not used", left.File)
		tellFound(w, "", left.Why)
	}
	return nil
}

// takeRegistry takes what is not given by flags.
func (o *connectOptions) takeRegistry(way *locate.Way) {
	o.registry.prefix = cmp.Or(o.registry.prefix, way.Prefix)
	o.registry.encryptionConfig = cmp.Or(o.registry.encryptionConfig, way.EncryptionConfig)
	o.registry.overrides = way.Overrides
}

// tell says what is known beside the connection.
func (r *registry) tell(w io.Writer) {
	tellFound(w, "prefix", r.prefix)
	tellFound(w, "encryption", r.encryptionConfig)
	for _, override := range r.overrides {
		tellFound(w, "elsewhere", override.Resource.String()+" in "+strings.Join(override.Endpoints, ","))
	}
}

func tellFound(w io.Writer, what, value string) {
	if value != "" {
		fmt.Fprintf(w, "  %-11s  %s\n", what, value)
	}
}

// sameEtcd reports whether two lists of endpoints have one in common.
func sameEtcd(a, b []string) bool {
	return slices.ContainsFunc(a, func(endpoint string) bool {
		return slices.ContainsFunc(b, func(other string) bool { return hostPort(endpoint) == hostPort(other) })
	})
}

// hostPort leaves the scheme out of an endpoint: with TLS flags one may be given without.
func hostPort(endpoint string) string {
	if u, err := url.Parse(strings.TrimSpace(endpoint)); err == nil && u.Host != "" {
		return u.Host
	}
	return strings.TrimSpace(endpoint)
}
