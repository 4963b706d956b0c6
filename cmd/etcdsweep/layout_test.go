package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindLayout(t *testing.T) {
	const (
		kubeadm = "/etc/kubernetes/manifests/"
		parked  = "/etc/kubernetes/etcdsweep-parked/"
		rke2    = "/var/lib/rancher/rke2/agent/pod-manifests/"
	)
	tests := []struct {
		name   string
		files  []string
		config string // of the kubelet
		layout string
		stop   string // the last command
		start  string // the first command
		note   string // words of it
	}{
		{
			name: "kubeadm", files: []string{kubeadm + "kube-controller-manager.yaml", kubeadm + "kube-apiserver.yaml"}, layout: "a static pod",
			stop:  "mv /etc/kubernetes/manifests/kube-controller-manager.yaml /etc/kubernetes/etcdsweep-parked/",
			start: "mv -n /etc/kubernetes/etcdsweep-parked/kube-controller-manager.yaml /etc/kubernetes/manifests/",
		},
		{
			name: "kubeadm, stopped", files: []string{parked + "kube-controller-manager.yaml", kubeadm + "kube-apiserver.yaml"}, layout: "a static pod",
			start: "mv -n /etc/kubernetes/etcdsweep-parked/kube-controller-manager.yaml /etc/kubernetes/manifests/",
		},
		{
			name: "kubeadm, moved elsewhere", files: []string{kubeadm + "kube-apiserver.yaml"}, layout: "a static pod", note: "look where it was moved",
		},
		{
			name: "kubelet with another directory", files: []string{"/etc/kubelet.d/kube-controller-manager.yaml"}, layout: "a static pod",
			config: "kind: KubeletConfiguration\nstaticPodPath: \"/etc/kubelet.d\"\n",
			stop:   "mv /etc/kubelet.d/kube-controller-manager.yaml /etc/etcdsweep-parked/",
			start:  "mv -n /etc/etcdsweep-parked/kube-controller-manager.yaml /etc/kubelet.d/",
		},
		{
			name: "kubelet whose directory needs quotes", files: []string{"/etc/my pods/kube-controller-manager.yaml"}, layout: "a static pod",
			config: "staticPodPath: /etc/my pods\n", stop: "mv '/etc/my pods/kube-controller-manager.yaml' /etc/etcdsweep-parked/",
		},
		{
			name: "kubelet without one", files: []string{kubeadm + "kube-controller-manager.yaml"}, layout: "a static pod", config: "kind: KubeletConfiguration\nstaticPodPath: \"\"\n",
		},
		{
			name: "RKE2", files: []string{rke2 + "kube-controller-manager.yaml"}, layout: "a static pod of RKE2", note: "Do not restart rke2-server",
			stop:  "mv /var/lib/rancher/rke2/agent/pod-manifests/kube-controller-manager.yaml /var/lib/rancher/rke2/agent/etcdsweep-parked/",
			start: "mv -n /var/lib/rancher/rke2/agent/etcdsweep-parked/kube-controller-manager.yaml /var/lib/rancher/rke2/agent/pod-manifests/",
		},
		{
			name: "RKE2, stopped", files: []string{"/var/lib/rancher/rke2/agent/etcdsweep-parked/kube-controller-manager.yaml"}, layout: "a static pod of RKE2",
		},
		{
			name: "k3s", files: []string{"/etc/systemd/system/k3s.service"}, layout: "a part of k3s", note: "embedded etcd",
			stop: "systemctl restart k3s", start: "rm /etc/rancher/k3s/config.yaml.d/etcdsweep.yaml",
		},
		{name: "k3s agent", files: []string{"/etc/systemd/system/k3s-agent.service"}},
		{
			name: "unit of an administrator", files: []string{"/etc/systemd/system/kube-controller-manager.service"}, layout: "the systemd unit kube-controller-manager.service",
			stop: "systemctl stop kube-controller-manager", start: "systemctl start kube-controller-manager",
		},
		{name: "unit of a package", files: []string{"/usr/lib/systemd/system/kube-controller-manager.service"}, layout: "the systemd unit kube-controller-manager.service"},
		{name: "unit of a package, elsewhere", files: []string{"/lib/systemd/system/kube-controller-manager.service"}, layout: "the systemd unit kube-controller-manager.service"},
		{
			name: "a static pod, and a unit that is left over", layout: "a static pod",
			files: []string{kubeadm + "kube-controller-manager.yaml", "/lib/systemd/system/kube-controller-manager.service"},
		},
		{name: "a worker", files: []string{"/etc/kubernetes/kubelet.conf"}},
		{name: "nothing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, file := range test.files {
				place(t, root, file, "")
			}
			if test.config != "" {
				place(t, root, "/var/lib/kubelet/config.yaml", test.config)
			}
			l := findLayout(root)
			if l.name != test.layout || (l.name == "") != (len(l.stop) == 0) || len(l.stop) == 0 != (len(l.start) == 0) {
				t.Fatalf("got %+v, want %q", l, test.layout)
			}
			if test.stop != "" && l.stop[len(l.stop)-1] != test.stop {
				t.Errorf("stop by %q, want %q", l.stop, test.stop)
			}
			if test.start != "" && l.start[0] != test.start {
				t.Errorf("start by %q, want %q", l.start, test.start)
			}
			if !strings.Contains(l.note, test.note) || test.note == "" && l.note != "" && test.layout != "a static pod of RKE2" {
				t.Errorf("note %q, want %q in it", l.note, test.note)
			}
			for _, words := range []string{l.stopWords(), l.startWords()} {
				if strings.Contains(words, "\n") || strings.Contains(words, root) || !strings.Contains(words, "every control-plane node") {
					t.Errorf("words %q", words)
				}
			}
		})
	}
}

// The commands do in a shell what they promise: the manifest goes, twice over if need be, and comes back as it was.
func TestLayoutCommandsUndoEachOther(t *testing.T) {
	root := t.TempDir()
	manifests := filepath.Join(root, "manifests")
	place(t, manifests, manifestName, "kind: Pod\n")
	l := node("/").staticPod("a static pod", manifests)
	shell := func(commands []string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", strings.Join(commands, "\n")).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", commands, err, out)
		}
	}
	for range 2 {
		shell(l.stop)
		if entries, err := os.ReadDir(manifests); err != nil || len(entries) != 0 {
			t.Fatalf("after %q: %v, %v", l.stop, entries, err)
		}
		shell(l.start)
		if got, err := os.ReadFile(filepath.Join(manifests, manifestName)); err != nil || string(got) != "kind: Pod\n" {
			t.Fatalf("after %q: %q, %v", l.start, got, err)
		}
	}
}

func place(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
