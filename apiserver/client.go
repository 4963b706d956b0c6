package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

const catchUpTimeout = 5 * time.Second

// ConfigError says that a kubeconfig, or an address that goes with it, cannot be used.
type ConfigError struct {
	Path string // of the kubeconfig
	Err  error
}

func (e *ConfigError) Error() string { return fmt.Sprintf("kubeconfig %s: %v", e.Path, e.Err) }

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.Err }

// Hint says what a kubeconfig has to have.
func (e *ConfigError) Hint() string {
	return "it must have a current context that names a cluster and a user; on a node of kubeadm's, /etc/kubernetes/admin.conf does"
}

// Client reads from one apiserver.
type Client struct {
	url      string
	metadata metadata.Interface
	// mapper asks the apiserver what it serves, once it answers.
	mapper func() (meta.RESTMapper, error)
}

// Open makes a client from a kubeconfig. If server is not empty, that is the address to go to, instead of the kubeconfig's own.
// timeout is for one request. Nothing is sent yet; the error is a *ConfigError.
func Open(kubeconfig, server string, timeout time.Duration) (*Client, error) {
	overrides := &clientcmd.ConfigOverrides{}
	overrides.ClusterInfo.Server = server
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, &ConfigError{kubeconfig, err}
	}
	config.Timeout = timeout
	config.UserAgent = "etcdsweep"
	config.WarningHandler = rest.NoWarnings{} // about versions that will go; nobody can act on that here
	config.QPS = -1                           // a handful of requests, each for as many objects as there are
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, &ConfigError{kubeconfig, err}
	}
	return newClient(config, httpClient, kubeconfig)
}

func newClient(config *rest.Config, httpClient *http.Client, kubeconfig string) (*Client, error) {
	objects, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), httpClient)
	if err != nil {
		return nil, &ConfigError{kubeconfig, err}
	}
	served, err := discovery.NewDiscoveryClientForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, &ConfigError{kubeconfig, err}
	}
	mapper := func() (meta.RESTMapper, error) {
		groups, err := restmapper.GetAPIGroupResources(served)
		if err != nil {
			return nil, err
		}
		return restmapper.NewDiscoveryRESTMapper(groups), nil
	}
	return &Client{url: config.Host, metadata: objects, mapper: sync.OnceValues(mapper)}, nil
}

// URL returns the apiserver's address.
func (c *Client) URL() string { return c.url }

// NamespaceUID returns the UID of a Namespace, as the apiserver's watch cache has it.
func (c *Client) NamespaceUID(ctx context.Context, name string) (string, error) {
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	namespace, err := c.metadata.Resource(namespaces).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return "", fmt.Errorf("get namespace %s: %w", name, plain(err))
	}
	return string(namespace.UID), nil
}

// Cached returns what the apiserver's watch cache holds of a kind in a namespace, or everywhere if it is empty: the revision of
// each object's last change, by namespace and name (or the name alone of what is in no namespace); and the revision that the
// cache has come to. Where nothing has happened to a kind for a while that may be an old one.
func (c *Client) Cached(ctx context.Context, kind schema.GroupKind, namespace string) (objects map[string]int64, revision int64, err error) {
	mapper, err := c.mapper()
	if err != nil {
		return nil, 0, fmt.Errorf("ask what is served: %w", plain(err))
	}
	mapping, err := mapper.RESTMapping(kind)
	if err != nil {
		return nil, 0, err
	}
	resource := c.metadata.Resource(mapping.Resource).Namespace(namespace)
	catchUp(ctx, resource)
	list, err := resource.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", mapping.Resource.GroupResource(), plain(err))
	}
	objects = make(map[string]int64, len(list.Items))
	for i := range list.Items {
		o := &list.Items[i]
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + o.Name
		}
		if objects[name], err = strconv.ParseInt(o.ResourceVersion, 10, 64); err != nil {
			return nil, 0, fmt.Errorf("resource version of %s: %w", name, err)
		}
	}
	if revision, err = strconv.ParseInt(list.ResourceVersion, 10, 64); err != nil {
		return nil, 0, fmt.Errorf("resource version of a list: %w", err)
	}
	return objects, revision, nil
}

// catchUp makes a newer apiserver ask etcd how far it is, so that its cache knows that it has come that far: a consistent read
// does. Whether it succeeds does not matter. An apiserver that is cut off from etcd still shows its cache.
func catchUp(ctx context.Context, resource metadata.ResourceInterface) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	_, _ = resource.List(ctx, metav1.ListOptions{Limit: 1})
}

// plain leaves out of an error what its reader knows: the whole address that was asked.
func plain(err error) error {
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err
	}
	return err
}
