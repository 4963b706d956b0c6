package locate

import (
	"errors"
	"io/fs"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Way is a way in to the etcd of a node's cluster.
type Way struct {
	How  string // what tells it: "a static pod of kube-apiserver"
	File string // where that stands

	Endpoints         []string
	CACert, Cert, Key string // files; empty if none is named

	Prefix           string     // kube-apiserver's --etcd-prefix, as "/registry"; empty if it is not set
	EncryptionConfig string     // file with kube-apiserver's EncryptionConfiguration; empty if there is none
	Overrides        []Override // resources that are kept in another etcd
}

// Override is a resource that kube-apiserver keeps in another etcd (--etcd-servers-overrides). That one is reached with the
// same certificates, and has the same prefix (apiserver pkg/server/storage, groupResourceOverrides.Apply).
type Override struct {
	Resource  schema.GroupResource
	Endpoints []string
}

// LeftOut is something that was found and is not used.
type LeftOut struct {
	File string
	Why  string
}

// Found is what a node's files tell.
type Found struct {
	Way     *Way // nil if none of them names an etcd
	LeftOut []LeftOut
}

// UnusableError is a file that says where etcd is, and that can't be followed.
type UnusableError struct {
	File    string
	NotEtcd bool // what it leads to is no etcd
	Err     error

	advice string
}

func (e *UnusableError) Error() string { return e.File + ": " + e.Err.Error() }
func (e *UnusableError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *UnusableError) Hint() string { return e.advice }

// giveFlags is what can always be done.
const giveFlags = "say how to reach etcd by --endpoints, --cacert, --cert and --key"

// unusable says that a file can't be followed.
func unusable(file string, err error) error {
	advice := giveFlags
	if errors.Is(err, fs.ErrPermission) {
		advice = "only root may read it on most nodes: use sudo; or " + giveFlags
	}
	return &UnusableError{File: file, Err: err, advice: advice}
}

// silentError is a file that was expected to name an etcd, and names none.
type silentError struct {
	file, why string
}

func (e *silentError) Error() string { return e.file + ": " + e.why }

// source is one way of running a cluster. It returns nil if the node knows nothing of it.
type source func(node) (*Way, error)

// sources are in the order in which they decide. kube-apiserver's own flags come first: nothing else says for certain which
// etcd this cluster is in.
func sources() []source {
	return []source{kubeletPods, rke2Pods, apiServerUnit, rke2, k3s, kubeadm, etcdEnv, etcdUnit}
}

// Find looks for the way in below a root directory. The files of the result can be opened as they are: they begin with the
// root. The error is an *UnusableError, or says that the root is none.
func Find(root string) (Found, error) {
	n, err := newNode(root)
	if err != nil {
		return Found{}, err
	}
	var found Found
	for _, look := range sources() {
		way, err := look(n)
		var silent *silentError
		switch {
		case errors.As(err, &silent):
			found.LeftOut = append(found.LeftOut, LeftOut{silent.file, silent.why})
		case err != nil && found.Way == nil:
			return found, err
		case err != nil || way == nil: // what could not be followed anyway need not be named
		case found.Way == nil:
			found.Way = way
			found.LeftOut = append(found.LeftOut, n.checkEncryption(way)...)
		default:
			found.LeftOut = append(found.LeftOut, LeftOut{way.File, way.How})
		}
	}
	return found, nil
}

// checkEncryption leaves out an encryption configuration that is not there: etcd can be reached without it, only that
// encrypted values stay so.
func (n node) checkEncryption(way *Way) []LeftOut {
	file := way.EncryptionConfig
	if file == "" || n.hasFile(file) {
		return nil
	}
	way.EncryptionConfig = ""
	return []LeftOut{{file, "the encryption configuration is not there: encrypted values can't be read"}}
}
