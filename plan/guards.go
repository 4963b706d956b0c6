package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// jobTracking is the finalizer that the Job controller puts on pods until it has counted them. It is no reason to keep
// a pod whose Job goes (k8s.io/api batch/v1 JobTrackingFinalizer).
const jobTracking = "batch.kubernetes.io/job-tracking"

// guard is a rule that keeps an object out of a plan. Its name shows in plans, and lifts it.
type guard struct {
	name  string
	why   string
	keeps func(*decode.Object, Nodes) bool
}

// GuardRunning is the guard whose answer depends on what is known of nodes.
const GuardRunning = "running-on-live-node"

// Guards that are spoken of elsewhere.
const (
	guardDataLoss = "data-loss"
	guardOrphan   = finalizerGuard + "orphan"
)

func guards() []guard {
	controlledBy := func(group, kind string) func(*decode.Object, Nodes) bool {
		return func(o *decode.Object, _ Nodes) bool {
			ref := o.Controller()
			return ref != nil && ref.GroupKind() == schema.GroupKind{Group: group, Kind: kind}
		}
	}
	return []guard{
		{"protected-namespace", "kube-system, kube-public and kube-node-lease hold the cluster itself", func(o *decode.Object, _ Nodes) bool {
			return protected(o.Namespace)
		}},
		{"mirror-pod", "mirrors a static pod of its kubelet", func(o *decode.Object, _ Nodes) bool { return o.Mirror }},
		{"daemonset-pod", "belongs to a DaemonSet", controlledBy("apps", "DaemonSet")},
		{"statefulset-pod", "belongs to a StatefulSet", controlledBy("apps", "StatefulSet")},
		{"pvc-user", "uses a PersistentVolumeClaim", func(o *decode.Object, _ Nodes) bool { return len(o.Claims) > 0 }},
		{guardDataLoss, "a volume may be deleted with its claim, and what is on it", func(o *decode.Object, _ Nodes) bool {
			return o.Kind == claimKind && o.GroupKind() == schema.GroupKind{Kind: claimKind}
		}},
		{GuardRunning, "runs on a node that is not known to be dead; the kubelet would kill it", running},
	}
}

const claimKind = "PersistentVolumeClaim"

// running reports whether a pod runs on a node that is live, or of which nobody knows.
func running(o *decode.Object, nodes Nodes) bool {
	return o.Phase == "Running" && o.NodeName != "" && nodes.State(o.NodeName) != NodeDead
}

const finalizerGuard = "finalizer=" // and the finalizer's name

// Guards are the rules in force for one plan: all of them, but for those that were lifted by name.
type Guards struct {
	rules  []guard
	lifted []string
	nodes  Nodes
}

// AllowCollateral lifts no guard, but the refusal of a plan whose roots take more with them than its entries.
const AllowCollateral = "collateral"

// With returns the guards with what is known of nodes. Without it all nodes are unknown, and their running pods kept out.
func (g Guards) With(nodes Nodes) Guards {
	g.nodes = nodes
	return g
}

// NewGuards returns the guards without those that are lifted by their names, of [Allowances]. Another name is an error: a
// misspelt one must not pass for a lifted one.
func NewGuards(lifted []string) (Guards, error) {
	g := Guards{rules: guards(), lifted: lifted}
	for _, name := range lifted {
		finalizer, isFinalizer := strings.CutPrefix(name, finalizerGuard)
		known := isFinalizer && finalizer != "" || name == AllowCollateral ||
			slices.ContainsFunc(g.rules, func(rule guard) bool { return rule.name == name })
		if !known {
			return Guards{}, fmt.Errorf("nothing to allow is called %q; there are %s", name, strings.Join(Allowances(), ", "))
		}
	}
	return g, nil
}

// Allowances returns the names that --allow of plan takes.
func Allowances() []string {
	var names []string
	for _, rule := range guards() {
		names = append(names, rule.name)
	}
	return append(names, finalizerGuard+"NAME", AllowCollateral)
}

// Objection returns the name of the first guard that keeps the object out, and what it protects; "" if none does.
func (g Guards) Objection(o *decode.Object) (name, why string) {
	for _, rule := range g.rules {
		if rule.keeps(o, g.nodes) && !slices.Contains(g.lifted, rule.name) {
			return rule.name, rule.why
		}
	}
	for _, finalizer := range o.Finalizers {
		if finalizer != jobTracking && !slices.Contains(g.lifted, finalizerGuard+finalizer) {
			return finalizerGuard + finalizer, "somebody still has to clean up after it"
		}
	}
	return "", ""
}

// RootObjection is Objection for the record of a planned owner. An owner that is being deleted in the foreground is no
// obstacle; one with the finalizer "orphan" means its dependents to stay, which nothing lifts.
func (g Guards) RootObjection(o *decode.Object) (name, why string) {
	if slices.Contains(o.Finalizers, "orphan") {
		return guardOrphan, "it is being deleted so that its pods stay"
	}
	root := *o
	root.Finalizers = slices.DeleteFunc(slices.Clone(o.Finalizers), func(f string) bool { return f == "foregroundDeletion" })
	return g.Objection(&root)
}
