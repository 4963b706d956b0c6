package locate

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	kubeadmPods  = "/etc/kubernetes/manifests"
	rancherPods  = "agent/pod-manifests" // below RKE2's data directory
	kubeletConf  = "/var/lib/kubelet/config.yaml"
	kubeletUnit  = "kubelet.service"
	etcd         = "etcd"
	apiServerPod = "a static pod of " + apiServer
)

// pod is what is read of a static pod's manifest.
type pod struct {
	Spec struct {
		Containers []container `json:"containers"`
		Volumes    []struct {
			Name     string `json:"name"`
			HostPath *struct {
				Path string `json:"path"`
			} `json:"hostPath"`
		} `json:"volumes"`
	} `json:"spec"`
}

type container struct {
	Command []string `json:"command"`
	Args    []string `json:"args"`
	Env     []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	VolumeMounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		SubPath   string `json:"subPath"`
	} `json:"volumeMounts"`
}

// program is how a static pod starts a program.
type program struct {
	flags  options
	mounts []mount
}

// mount is a directory or file of the node within a container; host is empty if it is something else than the node's.
type mount struct{ inside, host string }

// parsePod reads a static pod's manifest, and looks in it for a container that starts a program. It returns nil if there is
// none.
func parsePod(manifest []byte, name string) (*program, error) {
	var p pod
	if err := yaml.Unmarshal(manifest, &p); err != nil {
		return nil, err
	}
	for _, c := range p.Spec.Containers {
		args, found := arguments(c.commandLine(), name)
		if !found {
			continue
		}
		started := &program{flags: parseOptions(args)}
		for _, m := range c.VolumeMounts {
			started.mounts = append(started.mounts, mount{path.Clean(m.MountPath), p.hostPath(m.Name, m.SubPath)})
		}
		return started, nil
	}
	return nil, nil
}

// commandLine returns the words by which a container is started, with the variables that its own manifest gives a value.
func (c container) commandLine() []string {
	var pairs []string
	for _, v := range c.Env {
		if v.Name != "" && v.Value != "" {
			pairs = append(pairs, "$("+v.Name+")", v.Value)
		}
	}
	expand := strings.NewReplacer(pairs...)
	var line []string
	for _, word := range append(append(line, c.Command...), c.Args...) {
		line = append(line, expand.Replace(word))
	}
	return line
}

func (p *pod) hostPath(volume, subPath string) string {
	for _, v := range p.Spec.Volumes {
		if v.Name == volume && v.HostPath != nil {
			return path.Join("/", v.HostPath.Path, subPath)
		}
	}
	return ""
}

// outside turns a path within the container into the node's: by the mount that is closest to it.
func (p *program) outside(name string) (string, error) {
	name, err := sameOutside(path.Clean(name))
	if err != nil {
		return "", err
	}
	var closest *mount
	for i, m := range p.mounts {
		within := name == m.inside || strings.HasPrefix(name, strings.TrimSuffix(m.inside, "/")+"/")
		if within && (closest == nil || len(m.inside) > len(closest.inside)) {
			closest = &p.mounts[i]
		}
	}
	switch {
	case closest == nil:
		return name, nil // the image's own; that it is on the node as well is looked at later
	case closest.host == "":
		return "", fmt.Errorf("%s is in a volume that is not the node's", name)
	}
	return path.Join(closest.host, strings.TrimPrefix(name, closest.inside)), nil
}

// StaticPodPath returns the directory in which the kubelet of the node below root reads static pods, as the node names it.
func StaticPodPath(root string) string {
	n, err := newNode(root)
	if err != nil {
		return kubeadmPods
	}
	return n.staticPodPath()
}

// staticPodPath asks the kubelet's command line, where systemd runs it, then its configuration; else it is kubeadm's.
func (n node) staticPodPath() string {
	_, command, _ := n.unitCommand(kubeletUnit) // what can't be read tells nothing
	args, _ := arguments(command, "kubelet")
	flags := parseOptions(args)
	if dir := flags.last("pod-manifest-path"); path.IsAbs(dir) {
		return path.Clean(dir)
	}
	file := kubeletConf
	if given := flags.last("config"); path.IsAbs(given) {
		file = given
	}
	_, content, err := n.read(file)
	var config struct {
		StaticPodPath string `json:"staticPodPath"`
	}
	if err == nil && yaml.Unmarshal(content, &config) == nil && path.IsAbs(config.StaticPodPath) {
		return path.Clean(config.StaticPodPath)
	}
	return kubeadmPods
}

// kubeletPods is a kube-apiserver among the kubelet's static pods.
func kubeletPods(n node) (*Way, error) { return apiServerIn(n, n.staticPodPath(), apiServerPod) }

// rke2Pods is RKE2's, which has its own kubelet.
func rke2Pods(n node) (*Way, error) {
	r, err := n.rancher("rke2")
	if err != nil {
		return nil, err
	}
	return apiServerIn(n, path.Join(r.dataDir, rancherPods), apiServerPod+" of RKE2")
}

func apiServerIn(n node, dir, how string) (*Way, error) {
	file, p, err := n.findPod(dir, apiServer)
	if p == nil || err != nil {
		return nil, err
	}
	return apiServerWay(n, how, file, p.flags, p.outside)
}

// findPod looks for the static pod that starts a program, in all files of a directory that the kubelet would read
// (kubernetes pkg/kubelet/config/file.go: those whose names don't begin with a dot).
func (n node) findPod(dir, name string) (file string, p *program, err error) {
	names, err := n.list(dir)
	if err != nil {
		return "", nil, err
	}
	for _, manifest := range names {
		if strings.HasPrefix(manifest, ".") {
			continue
		}
		file, content, err := n.read(path.Join(dir, manifest))
		if err == nil {
			p, err = parsePod(content, name)
		}
		switch {
		case err != nil && strings.HasPrefix(manifest, name): // others may be as they like
			return "", nil, unusable(file, err)
		case p != nil && err == nil:
			return file, p, nil
		}
	}
	return "", nil, nil
}
