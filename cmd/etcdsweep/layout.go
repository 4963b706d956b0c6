package main

import (
	"os"
	"path/filepath"
	"strings"

	"etcdsweep/etcdops/locate"
)

// layout is how a control-plane node runs kube-controller-manager, and what to type to stop and start it there. The commands
// are for root's shell; each undoes the other.
type layout struct {
	name  string   // "a static pod"; "" if nothing was found
	start []string // one command a line
	stop  []string
	note  string // what else to know before it is stopped, "" if nothing
}

const (
	controllerManager = "kube-controller-manager"
	manifestName      = controllerManager + ".yaml"

	rke2Manifests = "/var/lib/rancher/rke2/agent/pod-manifests"

	// parkingName is a directory beside that of the manifests: on the same file system, so that a kubelet never sees half
	// of a file. The kubelet does not read it: it reads the files of its own directory, and of no other (kubernetes
	// pkg/kubelet/config/file_linux.go).
	parkingName = "etcdsweep-parked"
)

// findLayout finds how the node whose files are below root runs kube-controller-manager. What runs takes precedence over
// what was parked; a node that is none of a control plane has an unknown layout, as has one of an unusual kind.
func findLayout(root string) layout {
	n := node(root)
	manifests := locate.StaticPodPath(root)
	unit := controllerManager + ".service"
	switch {
	case n.has(manifests, manifestName):
		return n.staticPod("a static pod", manifests)
	case n.has(rke2Manifests, manifestName):
		return n.rke2()
	case n.has(filepath.Join(filepath.Dir(manifests), parkingName), manifestName), n.has(manifests, "kube-apiserver.yaml"):
		return n.staticPod("a static pod", manifests)
	case n.has(filepath.Join(filepath.Dir(rke2Manifests), parkingName), manifestName), n.has(rke2Manifests, "kube-apiserver.yaml"):
		return n.rke2()
	case n.hasUnit("k3s.service"):
		return k3s()
	case n.hasUnit(unit):
		return layout{
			name:  "the systemd unit " + unit,
			stop:  []string{"systemctl stop " + controllerManager},
			start: []string{"systemctl start " + controllerManager},
		}
	}
	return layout{}
}

// node is where the files of a node are: "/", or a copy of them.
type node string

func (n node) has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(string(n), dir, name))
	return err == nil
}

// hasUnit looks for a systemd unit where administrators and packages put them (systemd.unit(5)).
func (n node) hasUnit(name string) bool {
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		if n.has(dir, name) {
			return true
		}
	}
	return false
}

// staticPod is a manifest that the kubelet watches: the pod ends when it goes, and starts when it is back.
func (n node) staticPod(name, manifests string) layout {
	parking := filepath.Join(filepath.Dir(manifests), parkingName)
	from, parked := shellQuote(filepath.Join(manifests, manifestName)), shellQuote(filepath.Join(parking, manifestName))
	l := layout{
		name:  name,
		stop:  []string{"mkdir -p " + shellQuote(parking), "mv " + from + " " + shellQuote(parking+"/")},
		start: []string{"mv -n " + parked + " " + shellQuote(manifests+"/")}, // a newer one that an upgrade has put there stays
	}
	if !n.has(manifests, manifestName) && !n.has(parking, manifestName) {
		l.note = manifestName + " is neither in\n" + manifests + " nor in\n" + parking + ":\nlook where it was moved on this node."
	}
	return l
}

// rke2 runs a kubelet with static pods. rke2-server writes their manifests when it starts, and leaves them alone while it runs.
func (n node) rke2() layout {
	l := n.staticPod("a static pod of RKE2", rke2Manifests)
	l.note = strings.TrimSpace(l.note + "\nDo not restart rke2-server meanwhile: that writes the manifest again.")
	return l
}

// k3s has kube-controller-manager in its server process. It can be left out by an option, which the server reads from its
// configuration when it starts (docs.k3s.io, "Managing Server Roles" and "Configuration File"). Not tried on a k3s yet.
func k3s() layout {
	const dir, file = "/etc/rancher/k3s/config.yaml.d", "/etc/rancher/k3s/config.yaml.d/etcdsweep.yaml"
	return layout{
		name: "a part of k3s",
		stop: []string{
			"mkdir -p " + dir,
			"echo 'disable-controller-manager: true' > " + file,
			"systemctl restart k3s",
		},
		start: []string{"rm " + file, "systemctl restart k3s"},
		note: "The restart takes this node's kube-apiserver, and its embedded etcd, with it:\n" +
			"one node after the other, each healthy again before the next.",
	}
}

// stopWords is how to stop it, in a line for a log.
func (l layout) stopWords() string { return l.words("stop", l.stop) }

// startWords is how to start it again, in a line for a log.
func (l layout) startWords() string { return l.words("start", l.start) }

func (l layout) words(verb string, commands []string) string {
	if l.name == "" {
		return verb + " " + controllerManager + " on every control-plane node, the way it is run there"
	}
	return verb + " " + controllerManager + " on every control-plane node: " + strings.Join(commands, " && ")
}
