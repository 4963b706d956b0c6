package plan

import (
	"fmt"
	"iter"
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
	podOf := func(group, kind string) func(*decode.Object, Nodes) bool {
		return func(o *decode.Object, _ Nodes) bool {
			ref := o.Controller()
			return ref != nil && o.Kind == "Pod" && ref.GroupKind() == schema.GroupKind{Group: group, Kind: kind}
		}
	}
	return []guard{
		{"protected-namespace", "kube-system, kube-public and kube-node-lease hold the cluster itself", func(o *decode.Object, _ Nodes) bool {
			return protected(o.Namespace)
		}},
		{"mirror-pod", "mirrors a static pod of its kubelet", func(o *decode.Object, _ Nodes) bool { return o.Mirror }},
		{"daemonset-pod", "belongs to a DaemonSet", podOf("apps", "DaemonSet")},
		{"statefulset-pod", "belongs to a StatefulSet", podOf("apps", "StatefulSet")},
		{"pvc-user", "uses a PersistentVolumeClaim", func(o *decode.Object, _ Nodes) bool { return len(o.Claims) > 0 }},
		{guardDataLoss, "a volume may be deleted with its claim, and what is on it", func(o *decode.Object, _ Nodes) bool {
			return isClaim(o)
		}},
		{GuardRunning, "runs on a node that is not known to be dead; the kubelet would kill it", running},
	}
}

func isClaim(o *decode.Object) bool {
	return o.Kind == claimKind && o.GroupKind() == schema.GroupKind{Kind: claimKind}
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
	whole  bool // a namespace goes whole
}

// AllowCollateral lifts no guard, but the refusal of a plan whose roots take more with them than its entries.
const AllowCollateral = "collateral"

// AllowLeftBehind lifts no guard, but the refusal to plan a namespace of which something cannot be judged: that stays behind.
const AllowLeftBehind = "left-behind"

// With returns the guards with what is known of nodes. Without it all nodes are unknown, and their running pods kept out.
func (g Guards) With(nodes Nodes) Guards {
	g.nodes = nodes
	return g
}

// OfNamespace returns the guards for a namespace that goes whole. What speaks for keeping a pod because of something else in its
// namespace does not count, since that goes as well: a StatefulSet, a DaemonSet, a claim, whose own guard is data-loss. Neither do
// finalizers that Kubernetes has for the order of deletion.
func (g Guards) OfNamespace() Guards {
	g.whole = true
	g.rules = slices.DeleteFunc(slices.Clone(g.rules), func(rule guard) bool {
		return slices.Contains([]string{"daemonset-pod", "statefulset-pod", "pvc-user"}, rule.name)
	})
	return g
}

// orderly reports whether a finalizer is about the order in which the things of one namespace go.
func orderly(finalizer string) bool {
	return slices.Contains([]string{"orphan", "foregroundDeletion", "kubernetes.io/pvc-protection"}, finalizer)
}

// NewGuards returns the guards without those that are lifted by their names, of [Allowances]. Another name is an error: a
// misspelt one must not pass for a lifted one.
func NewGuards(lifted []string) (Guards, error) {
	g := Guards{rules: guards(), lifted: lifted}
	for _, name := range lifted {
		finalizer, isFinalizer := strings.CutPrefix(name, finalizerGuard)
		known := isFinalizer && finalizer != "" || name == AllowCollateral || name == AllowLeftBehind ||
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
	return append(names, finalizerGuard+"NAME", AllowCollateral, AllowLeftBehind)
}

// Objection returns the name of the first guard that keeps the object out, and what it protects; "" if none does.
func (g Guards) Objection(o *decode.Object) (name, why string) {
	for name, why := range g.objections(o) {
		return name, why
	}
	return "", ""
}

// objections yields the names of all guards that keep the object out, and what they protect.
func (g Guards) objections(o *decode.Object) iter.Seq2[string, string] {
	return func(yield func(name, why string) bool) {
		for _, rule := range g.rules {
			if rule.keeps(o, g.nodes) && !slices.Contains(g.lifted, rule.name) && !yield(rule.name, rule.why) {
				return
			}
		}
		for _, finalizer := range o.Finalizers {
			lifted := finalizer == jobTracking || g.whole && orderly(finalizer) || slices.Contains(g.lifted, finalizerGuard+finalizer)
			if !lifted && !yield(finalizerGuard+finalizer, "somebody still has to clean up after it") {
				return
			}
		}
	}
}

// RootObjection is Objection for the record of a planned owner. An owner that is being deleted in the foreground is no
// obstacle; one with the finalizer "orphan" means its dependents to stay, which nothing lifts.
func (g Guards) RootObjection(o *decode.Object) (name, why string) {
	if slices.Contains(o.Finalizers, "orphan") && !g.whole {
		return guardOrphan, "it is being deleted so that its pods stay"
	}
	root := *o
	root.Finalizers = slices.DeleteFunc(slices.Clone(o.Finalizers), func(f string) bool { return f == "foregroundDeletion" })
	return g.Objection(&root)
}
