package locate

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

// rancher is how a k3s or an RKE2 is set up: by its configuration, its unit's variables and its command line, of which the
// last wins (docs.k3s.io and docs.rke2.io, "Configuration File").
type rancher struct {
	name    string
	file    string // the configuration, or the unit if there is none
	dataDir string
	options options
}

// rancher reads what there is; without anything it has the standard data directory.
func (n node) rancher(name string) (rancher, error) {
	r := rancher{name: name, options: options{}}
	unit, service := name+".service", name
	if name == "rke2" {
		unit, service = "rke2-server.service", "rke2"
	}
	unitFile, u, err := n.unit(unit)
	if err != nil {
		return r, err
	}
	args, _ := arguments(u.command(), service)
	flags := parseOptions(args)
	config := "/etc/rancher/" + name + "/config.yaml"
	for _, given := range []string{flags.last("config"), u.env[r.variable("config-file")]} {
		if path.IsAbs(given) {
			config = given
			break
		}
	}
	if r.file, err = n.rancherConfig(config, r.options); err != nil {
		return r, err
	}
	if r.file == "" {
		r.file = unitFile
	}
	for _, option := range []string{"data-dir", "datastore-endpoint", "datastore-cafile", "datastore-certfile", "datastore-keyfile"} {
		if value := u.env[r.variable(option)]; value != "" {
			r.options[option] = []string{value}
		}
		if value := flags.last(option); value != "" {
			r.options[option] = []string{value}
		}
	}
	r.options["kube-apiserver-arg"] = append(r.options["kube-apiserver-arg"], flags["kube-apiserver-arg"]...)
	if r.dataDir = r.options.last("data-dir"); !path.IsAbs(r.dataDir) {
		r.dataDir = "/var/lib/rancher/" + name
	}
	return r, nil
}

// variable returns the environment variable of an option.
func (r *rancher) variable(option string) string {
	return strings.ToUpper(r.name + "_" + strings.ReplaceAll(option, "-", "_"))
}

// rancherConfig reads a configuration, and the files in the directory beside it in the order of their names. A later value
// takes the place of an earlier one, or is added to it if its name ends in +.
func (n node) rancherConfig(config string, into options) (file string, err error) {
	names, err := n.list(config + ".d")
	if err != nil {
		return "", err
	}
	files := []string{config}
	for _, name := range names {
		if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			files = append(files, path.Join(config+".d", name))
		}
	}
	for _, name := range files {
		at, content, err := n.read(name)
		values := map[string]any{}
		if err == nil {
			err = yaml.Unmarshal(content, &values)
		}
		if err != nil {
			return at, unusable(at, err)
		}
		if content != nil && file == "" {
			file = at
		}
		for key, value := range values {
			option, more := strings.CutSuffix(key, "+")
			if !more {
				into[option] = nil
			}
			list, several := value.([]any)
			if !several {
				list = []any{value}
			}
			for _, v := range list {
				into[option] = append(into[option], fmt.Sprint(v))
			}
		}
	}
	return file, nil
}

func k3s(n node) (*Way, error) { return n.rancherWay("k3s") }

func rke2(n node) (*Way, error) { return n.rancherWay("rke2") }

// rancherWay follows a server of k3s or RKE2: to an external etcd, or to its own one. An agent has no server directory.
func (n node) rancherWay(name string) (*Way, error) {
	r, err := n.rancher(name)
	if err != nil {
		return nil, err
	}
	server := path.Join(r.dataDir, "server")
	if !n.has(server) {
		return nil, nil
	}
	flags := options{}
	if config := path.Join(server, "cred/encryption-config.json"); n.has(config) {
		flags["encryption-provider-config"] = []string{config}
	}
	file, how := r.file, "the configuration of "+name
	switch endpoint := r.options.last("datastore-endpoint"); {
	case strings.HasPrefix(endpoint, "http://"), strings.HasPrefix(endpoint, "https://"):
		flags["etcd-servers"] = r.options["datastore-endpoint"]
		flags["etcd-cafile"] = r.options["datastore-cafile"]
		flags["etcd-certfile"] = r.options["datastore-certfile"]
		flags["etcd-keyfile"] = r.options["datastore-keyfile"]
	case endpoint != "":
		return nil, notEtcd(file, name+" keeps this cluster in "+database(endpoint))
	case n.has(path.Join(server, "db/etcd")):
		if file, err = n.path(server); err != nil {
			return nil, unusable(server, err)
		}
		how = "the etcd of " + name
		flags["etcd-servers"] = []string{"https://127.0.0.1:2379"}
		flags["etcd-cafile"] = []string{path.Join(server, "tls/etcd/server-ca.crt")}
		flags["etcd-certfile"] = []string{path.Join(server, "tls/etcd/client.crt")}
		flags["etcd-keyfile"] = []string{path.Join(server, "tls/etcd/client.key")}
	case n.has(path.Join(server, "db/state.db")):
		if file, err = n.path(path.Join(server, "db/state.db")); err != nil {
			return nil, unusable(server, err)
		}
		return nil, notEtcd(file, name+" keeps this cluster in SQLite")
	default:
		return nil, nil
	}
	for _, argument := range r.options["kube-apiserver-arg"] {
		flag, value, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		flags[flag] = append(flags[flag], value)
	}
	return apiServerWay(n, how, file, flags, sameOutside)
}

// database names the kind of a data store, and nothing else of its address: that has passwords.
func database(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && u.Scheme != "" {
		return u.Scheme
	}
	return "a database"
}

func notEtcd(file, why string) error {
	return &UnusableError{
		File:    file,
		NotEtcd: true,
		Err:     errors.New(why + ", behind kine, which is not etcd"),
		advice:  "kine has no snapshots and no members: nothing can be proved or put back there; back up that database, and delete by kubectl",
	}
}
