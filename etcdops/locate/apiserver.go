package locate

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const apiServer = "kube-apiserver"

// apiServerWay follows the flags of a kube-apiserver. Its paths are turned into the node's by outside: a container has its own.
func apiServerWay(n node, how, file string, flags options, outside func(string) (string, error)) (*Way, error) {
	way := &Way{How: how, File: file, Endpoints: flags.list("etcd-servers")}
	if len(way.Endpoints) == 0 {
		return nil, &silentError{file, apiServer + " there has no --etcd-servers"}
	}
	if prefix := strings.Trim(flags.last("etcd-prefix"), "/"); prefix != "" {
		way.Prefix = path.Join("/", prefix)
	}
	for _, f := range []struct {
		flag string
		into *string
	}{
		{"etcd-cafile", &way.CACert},
		{"etcd-certfile", &way.Cert},
		{"etcd-keyfile", &way.Key},
		{"encryption-provider-config", &way.EncryptionConfig},
	} {
		inside := flags.last(f.flag)
		if inside == "" {
			continue
		}
		name, err := outside(inside)
		if err == nil {
			*f.into, err = n.path(name)
		}
		if err != nil {
			return nil, unusable(file, fmt.Errorf("--%s: %w", f.flag, err))
		}
	}
	var err error
	if way.Overrides, err = parseOverrides(flags.list("etcd-servers-overrides")); err != nil {
		return nil, unusable(file, err)
	}
	return way, n.checkCredentials(way)
}

// checkCredentials makes sure that the files of a way are there. Whether they may be read, and are good, shows when they are.
func (n node) checkCredentials(way *Way) error {
	for _, file := range []string{way.CACert, way.Cert, way.Key} {
		if file != "" && !n.hasFile(file) {
			return unusable(way.File, fmt.Errorf("names %s, which is not there", file))
		}
	}
	return nil
}

// parseOverrides reads --etcd-servers-overrides: group/resource#server;server.
func parseOverrides(list []string) ([]Override, error) {
	var all []Override
	for _, text := range list {
		resource, servers, ok := strings.Cut(text, "#")
		group, plural, both := strings.Cut(resource, "/")
		endpoints := strings.Split(servers, ";")
		if !ok || !both || plural == "" || strings.Contains(plural, "/") || servers == "" || strings.HasPrefix(servers, ";") {
			return nil, fmt.Errorf("--etcd-servers-overrides: %q is not group/resource#servers", text)
		}
		all = append(all, Override{schema.GroupResource{Group: group, Resource: plural}, endpoints})
	}
	return all, nil
}

// apiServerUnit is a kube-apiserver that systemd runs.
func apiServerUnit(n node) (*Way, error) {
	file, command, err := n.unitCommand(apiServer + ".service")
	if file == "" || err != nil {
		return nil, err
	}
	args, found := arguments(command, apiServer)
	if !found {
		return nil, &silentError{file, "it does not start " + apiServer + " itself"}
	}
	return apiServerWay(n, "the unit "+apiServer+".service", file, parseOptions(args), sameOutside)
}

// sameOutside is for programs that have no files of their own.
func sameOutside(name string) (string, error) {
	if !path.IsAbs(name) {
		return "", errors.New(name + " is no absolute path")
	}
	return name, nil
}
