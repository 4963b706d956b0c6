package main

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
)

// ownerNames reads the flags that name owners: --job, --cronjob and --owner.
func (o *planOptions) ownerNames() (names []plan.OwnerName, err error) {
	for _, batch := range []struct {
		flag, kind string
		given      []string
	}{{"job", "Job", o.jobs}, {"cronjob", "CronJob", o.cronJobs}} {
		for _, given := range batch.given {
			namespace, name, qualified := strings.Cut(given, "/")
			if !qualified {
				name, namespace = given, o.onlyNamespace()
			}
			switch {
			case strings.Contains(name, "/"), name == "", namespace == "" && qualified:
				return nil, usagef("--%s %q is neither NAME nor NAMESPACE/NAME", batch.flag, given)
			case namespace == "":
				return nil, usagef("--%s %s needs one --namespace, or to be given as NAMESPACE/%s", batch.flag, given, given)
			}
			names = append(names, plan.OwnerName{GroupKind: schema.GroupKind{Group: "batch", Kind: batch.kind}, Namespace: namespace, Name: name})
		}
	}
	for _, given := range o.ownerKinds {
		name, err := o.ownerName(given)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// ownerName reads KIND[.GROUP]/NAME or NAMESPACE/KIND[.GROUP]/NAME. Whether a custom kind has namespaces only the cluster knows.
func (o *planOptions) ownerName(given string) (plan.OwnerName, error) {
	namespace, parts := o.onlyNamespace(), strings.Split(given, "/")
	if len(parts) == 3 {
		namespace, parts = parts[0], parts[1:]
		if namespace == "" {
			parts = nil
		}
	}
	if len(parts) != 2 || strings.Trim(parts[0], ".") == "" || parts[1] == "" {
		return plan.OwnerName{}, usagef("--owner %q is neither KIND[.GROUP]/NAME nor NAMESPACE/KIND[.GROUP]/NAME", given)
	}
	kind, group, _ := strings.Cut(parts[0], ".")
	if resource, builtIn := decode.LookupName(parts[0]); builtIn && resource.Namespaced && namespace == "" {
		return plan.OwnerName{}, usagef("--owner %s needs one --namespace, or to be given as NAMESPACE/%s", given, given)
	}
	return plan.OwnerName{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Namespace: namespace, Name: parts[1]}, nil
}

// onlyNamespace returns the namespace if one is given, and "" if none is or several are.
func (o *planOptions) onlyNamespace() string {
	if len(o.namespaces) == 1 {
		return o.namespaces[0]
	}
	return ""
}
