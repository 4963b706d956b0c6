package locate

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

// kubeadm is a node whose kube-apiserver's manifest is gone, or was moved away for the night: kubeadm also makes a certificate
// by which etcd's liveness is probed, for the etcd of the same node.
func kubeadm(n node) (*Way, error) {
	const pki = "/etc/kubernetes/pki/etcd"
	certificate := path.Join(pki, "healthcheck-client.crt")
	if !n.has(certificate) {
		return nil, nil
	}
	file, err := n.path(certificate)
	if err != nil {
		return nil, unusable(certificate, err)
	}
	endpoint := "https://127.0.0.1:2379" // kubeadm's, always
	_, p, err := n.findPod(n.staticPodPath(), etcd)
	switch {
	case err != nil:
		return nil, err
	case p != nil:
		endpoint = cmp.Or(local(p.flags.last("listen-client-urls")), local(p.flags.last("advertise-client-urls")), endpoint)
	}
	return n.etcdWay("kubeadm's healthcheck-client certificate", file, settings{
		endpoints: endpoint,
		ca:        path.Join(pki, "ca.crt"),
		cert:      certificate,
		key:       path.Join(pki, "healthcheck-client.key"),
	})
}

// etcdEnv is the file of variables by which KubeKey and Kubespray run etcd. It has some for etcdctl as well.
func etcdEnv(n node) (*Way, error) {
	const name = "/etc/etcd.env"
	file, content, err := n.read(name)
	if err != nil {
		return nil, unusable(file, err)
	}
	if content == nil {
		return nil, nil
	}
	return n.etcdWay("the variables of KubeKey's or Kubespray's etcd", file, variables(parseEnv(content)))
}

// etcdUnit is an etcd that systemd runs.
func etcdUnit(n node) (*Way, error) {
	file, u, err := n.unit("etcd.service")
	if file == "" || err != nil {
		return nil, err
	}
	args, found := arguments(u.command(), etcd)
	if !found {
		return nil, &silentError{file, "it does not start etcd itself"}
	}
	flags, s := parseOptions(args), variables(u.env)
	if config := cmp.Or(flags.last("config-file"), u.env["ETCD_CONFIG_FILE"]); config != "" { // all else does not count then
		at, content, err := n.read(config)
		if err == nil {
			s, err = configured(content)
		}
		if err != nil {
			return nil, unusable(at, err)
		}
	} else if !s.forClients {
		s.endpoints = cmp.Or(local(flags.last("listen-client-urls")), local(flags.last("advertise-client-urls")), s.endpoints)
		s.ca = cmp.Or(flags.last("trusted-ca-file"), s.ca)
		s.cert = cmp.Or(flags.last("cert-file"), s.cert)
		s.key = cmp.Or(flags.last("key-file"), s.key)
	}
	return n.etcdWay("the unit etcd.service", file, s)
}

// settings are an etcd server's, as far as they lead to it.
type settings struct {
	endpoints     string
	ca, cert, key string
	forClients    bool // they were written for etcdctl, and not for the server
}

// variables reads etcd's environment variables. Those for etcdctl, if it has any, are meant for this.
func variables(env map[string]string) settings {
	if endpoints := env["ETCDCTL_ENDPOINTS"]; endpoints != "" {
		return settings{
			endpoints: endpoints,
			ca:        cmp.Or(env["ETCDCTL_CACERT"], env["ETCDCTL_CA_FILE"]),
			cert:      cmp.Or(env["ETCDCTL_CERT"], env["ETCDCTL_CERT_FILE"]),
			key:       cmp.Or(env["ETCDCTL_KEY"], env["ETCDCTL_KEY_FILE"]),

			forClients: true,
		}
	}
	return settings{
		endpoints: cmp.Or(local(env["ETCD_LISTEN_CLIENT_URLS"]), local(env["ETCD_ADVERTISE_CLIENT_URLS"])),
		ca:        env["ETCD_TRUSTED_CA_FILE"],
		cert:      env["ETCD_CERT_FILE"],
		key:       env["ETCD_KEY_FILE"],
	}
}

// configured reads etcd's own configuration file.
func configured(content []byte) (settings, error) {
	var config struct {
		Listen    string `json:"listen-client-urls"`
		Advertise string `json:"advertise-client-urls"`
		TLS       struct {
			CA   string `json:"trusted-ca-file"`
			Cert string `json:"cert-file"`
			Key  string `json:"key-file"`
		} `json:"client-transport-security"`
	}
	err := yaml.Unmarshal(content, &config)
	return settings{
		endpoints: cmp.Or(local(config.Listen), local(config.Advertise)),
		ca:        config.TLS.CA,
		cert:      config.TLS.Cert,
		key:       config.TLS.Key,
	}, err
}

// etcdWay follows what an etcd's own files say. kube-apiserver's settings are not among them.
func (n node) etcdWay(how, file string, s settings) (*Way, error) {
	way := &Way{How: how, File: file, Endpoints: split(s.endpoints)}
	if len(way.Endpoints) == 0 {
		return nil, &silentError{file, "it names no address for etcd's clients"}
	}
	for _, f := range []struct {
		name string
		into *string
	}{{s.ca, &way.CACert}, {s.cert, &way.Cert}, {s.key, &way.Key}} {
		if f.name == "" {
			continue
		}
		at, err := n.path(f.name)
		if err != nil {
			return nil, unusable(file, err)
		}
		*f.into = at
	}
	return way, n.checkCredentials(way)
}

// local returns, of the addresses that a server listens on, the one to reach it at from its own node: a loopback one if it
// can be, else the first.
func local(urls string) string {
	first := ""
	for _, address := range split(urls) {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" && !strings.HasPrefix(u.Scheme, "unix") {
			continue
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
			loopback := "127.0.0.1"
			if ip.Is6() {
				loopback = "::1"
			}
			u.Host = net.JoinHostPort(loopback, u.Port())
		}
		if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
			return u.String()
		}
		first = cmp.Or(first, u.String())
	}
	return first
}
