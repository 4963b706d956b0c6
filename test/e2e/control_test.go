package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"etcdsweep/test/lab"
)

const (
	adminToken       = "admin-token"
	controllersToken = "controllers-token"
	guestToken       = "guest-token" // of somebody who may read nothing

	// leaseDuration is Kubernetes' default: a machine that is busy must not make kube-controller-manager lose its lease.
	leaseDuration = 15 * time.Second
)

// control is a control plane: an etcd of three members, an apiserver or more, and at most one controller-manager.
type control struct {
	t    testing.TB
	dir  string
	etcd *lab.Cluster

	client       *clientv3.Client               // of etcd, see etcdClient
	certificates struct{ ca, cert, key string } // of the apiservers
	apiservers   []*apiServer
	controllers  *process
}

// apiServer is one kube-apiserver, and clients of it that nothing slows down.
type apiServer struct {
	*process
	port       int
	url        string
	kubeconfig string
	audit      string // path of its log of writes
	config     *rest.Config
	client     kubernetes.Interface
	metadata   metadata.Interface
}

// startControl starts etcd and one apiserver with more flags, and ends all when the test ends.
func startControl(t testing.TB, flags ...string) *control {
	t.Helper()
	c := &control{t: t, dir: t.TempDir()}
	keepLogs(t, c.dir, "*.log")
	etcdDir := filepath.Join(c.dir, "etcd")
	if err := os.Mkdir(etcdDir, 0o700); err != nil {
		t.Fatal(err)
	}
	etcd, err := lab.Start(t.Context(), lab.Config{Dir: etcdDir, Members: 3, Binary: program(t, etcdName)})
	if err != nil {
		t.Fatal(err)
	}
	c.etcd = etcd
	t.Cleanup(func() {
		c.controllers.kill()
		for _, a := range c.apiservers {
			a.kill()
		}
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	c.startAPIServer(etcd.Endpoints(), flags...)
	return c
}

// prepare makes what apiservers have in common: certificates, a key for service accounts, and who may log in.
func (c *control) prepare() error {
	ca, err := lab.NewCA(c.dir)
	if err != nil {
		return err
	}
	c.certificates.ca = ca.Path()
	if c.certificates.cert, c.certificates.key, err = ca.Server(c.dir, "apiserver"); err != nil {
		return err
	}
	now := time.Now()
	if _, _, err := ca.Client(c.dir, "service-accounts", now.AddDate(0, 0, -1), now.AddDate(1, 0, 0)); err != nil {
		return err
	}
	tokens := adminToken + ",admin,admin,system:masters\n" +
		controllersToken + "," + controllersUser + ",controllers,system:masters\n" +
		guestToken + ",guest,guest\n"
	return errors.Join(
		os.WriteFile(c.file("tokens.csv"), []byte(tokens), 0o600),
		os.WriteFile(c.file("audit.yaml"), []byte(auditPolicy), 0o600),
	)
}

func (c *control) file(name string) string { return filepath.Join(c.dir, name) }

// startAPIServer starts another apiserver on the etcd at these endpoints, and waits until it is ready.
func (c *control) startAPIServer(endpoints []string, flags ...string) *apiServer {
	c.t.Helper()
	path := program(c.t, apiserverName)
	var a *apiServer
	err := retryPorts(func(port int) (err error) {
		a, err = c.tryAPIServer(path, port, endpoints, flags)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.apiservers = append(c.apiservers, a)
	return a
}

func (c *control) tryAPIServer(path string, port int, endpoints, flags []string) (*apiServer, error) {
	a := &apiServer{port: port, url: fmt.Sprintf("https://127.0.0.1:%d", port)}
	a.kubeconfig, a.audit = c.file(fmt.Sprintf("kubeconfig-%d", port)), c.file(fmt.Sprintf("audit-%d.log", port))
	if err := c.writeKubeconfig(a.kubeconfig, a.url, adminToken); err != nil {
		return nil, err
	}
	var err error
	if a.config, err = clientcmd.BuildConfigFromFlags("", a.kubeconfig); err != nil {
		return nil, err
	}
	a.config.QPS = -1
	a.config.ContentType = runtime.ContentTypeProtobuf
	if a.client, err = kubernetes.NewForConfig(a.config); err != nil {
		return nil, err
	}
	if a.metadata, err = metadata.NewForConfig(a.config); err != nil {
		return nil, err
	}
	a.process, err = startProcess(path, c.dir, append([]string{
		"--etcd-servers=" + strings.Join(endpoints, ","),
		"--etcd-cafile=" + c.etcd.CA.Path(),
		"--etcd-certfile=" + c.etcd.Cert,
		"--etcd-keyfile=" + c.etcd.Key,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // an address of the loopback is no endpoint
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + c.certificates.cert,
		"--tls-private-key-file=" + c.certificates.key,
		"--token-auth-file=" + c.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--audit-policy-file=" + c.file("audit.yaml"),
		"--audit-log-path=" + a.audit,
		"--vmodule=cache_watcher=1", // it tells there whom it cuts off
		"--service-cluster-ip-range=10.0.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.file("service-accounts.crt"),
		"--service-account-signing-key-file=" + c.file("service-accounts.key"),
	}, flags...))
	if err != nil {
		return nil, err
	}
	err = a.await(c.t.Context(), a.readyz)
	if err != nil {
		a.kill()
	}
	return a, err
}

// readyz asks an apiserver whether it is ready.
func (a *apiServer) readyz(ctx context.Context) error {
	return a.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// restart stops an apiserver and starts it again at its port, with these flags instead of those that it had besides the usual ones.
func (c *control) restart(a *apiServer, endpoints []string, flags ...string) {
	c.t.Helper()
	a.stop()
	again, err := c.tryAPIServer(program(c.t, apiserverName), a.port, endpoints, flags)
	must(c.t, err)
	a.process = again.process // the clients find their way back
}

// api is the first apiserver.
func (c *control) api() *apiServer { return c.apiservers[0] }

func (c *control) writeKubeconfig(path, url, token string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["e2e"] = &clientcmdapi.Cluster{Server: url, CertificateAuthority: c.certificates.ca}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: "user"}
	config.CurrentContext = "e2e"
	return clientcmd.WriteToFile(*config, path)
}

// startControllers starts kube-controller-manager, qps requests a second for each of its controllers, and waits until it leads.
// Kubernetes' default is 20.
func (c *control) startControllers(qps int) {
	c.t.Helper()
	before := c.leader()
	kubeconfig := c.file("kubeconfig-controllers")
	must(c.t, c.writeKubeconfig(kubeconfig, c.api().url, controllersToken))
	path := program(c.t, controllerManagerName)
	err := retryPorts(func(port int) (err error) {
		c.controllers, err = startProcess(path, c.dir, []string{
			"--kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			"--secure-port=" + strconv.Itoa(port),
			"--cert-dir=" + c.dir,
			"--service-account-private-key-file=" + c.file("service-accounts.key"),
			"--root-ca-file=" + c.certificates.ca,
			"--kube-api-qps=" + strconv.Itoa(qps),
			"--kube-api-burst=" + strconv.Itoa(qps*3/2),
			"--leader-elect-lease-duration=" + leaseDuration.String(),
		})
		if err != nil {
			return err
		}
		return c.controllers.await(c.t.Context(), func(context.Context) error {
			if now := c.leader(); now == "" || now == before {
				return errors.New("another one leads")
			}
			return nil
		})
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// stopControllers stops kube-controller-manager. Its lease stands still from then on.
func (c *control) stopControllers() {
	c.controllers.stop()
	c.controllers = nil
}

// leader returns who leads among controller-managers, "" if none did yet or nobody can tell.
func (c *control) leader() string {
	lease, err := c.api().client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(c.t.Context(), controllerManagerName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// etcdClient returns a client of etcd, always the same, that is closed with the test.
func (c *control) etcdClient() *clientv3.Client {
	c.t.Helper()
	if c.client == nil {
		c.client = got(c.etcd.Client())(c.t)
		c.t.Cleanup(func() { c.client.Close() })
	}
	return c.client
}
