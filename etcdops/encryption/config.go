package encryption

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// ConfigError is a file that is no EncryptionConfiguration that kube-apiserver would read. It shows no secret.
type ConfigError struct {
	File string
	Err  error
}

func (e *ConfigError) Error() string {
	return "encryption configuration " + e.File + ": " + e.Err.Error()
}

// Unwrap returns what is wrong with it.
func (e *ConfigError) Unwrap() error { return e.Err }

// Hint says which file it should be.
func (e *ConfigError) Hint() string {
	return "give the file that kube-apiserver is started with: --encryption-provider-config"
}

// Load reads an EncryptionConfiguration. The prefix is kube-apiserver's --etcd-prefix without a trailing slash: a key behind it
// tells the resource. No plugin is asked yet. Errors are of type *ConfigError. The caller closes the keys.
func Load(file, prefix string) (*Keys, error) {
	text, err := os.ReadFile(file)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the file's name is in ConfigError
	}
	var keys *Keys
	if err == nil {
		keys, err = parse(text, prefix)
	}
	if err != nil {
		return nil, &ConfigError{File: file, Err: err}
	}
	return keys, nil
}

func parse(text []byte, prefix string) (*Keys, error) {
	config, err := decodeConfig(text)
	if err != nil {
		return nil, err
	}
	if len(config.Resources) == 0 {
		return nil, errors.New("no resources")
	}
	keys := newKeys(prefix)
	for i, rule := range config.Resources {
		var tried []provider
		for j := range rule.Providers {
			some, err := keys.providers(&rule.Providers[j])
			if err != nil {
				return nil, errors.Join(fmt.Errorf("resources[%d].providers[%d]: %w", i, j, err), keys.Close())
			}
			tried = append(tried, some...)
		}
		for _, name := range rule.Resources {
			resource := schema.ParseGroupResource(name)
			keys.rules[resource] = append(keys.rules[resource], tried...)
		}
	}
	return keys, nil
}

// decodeConfig reads the file as kube-apiserver does, with its defaults.
func decodeConfig(text []byte) (*apiserver.EncryptionConfiguration, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(apiserver.AddToScheme(scheme), apiserverv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	object, kind, err := serializer.NewCodecFactory(scheme).UniversalDecoder().Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	config, ok := object.(*apiserver.EncryptionConfiguration)
	if !ok {
		return nil, fmt.Errorf("it is of kind %s, not EncryptionConfiguration", kind.Kind)
	}
	return config, nil
}

// providers returns what one entry of the configuration opens, a provider for each of its keys. The identity provider opens nothing.
func (k *Keys) providers(config *apiserver.ProviderConfiguration) ([]provider, error) {
	switch {
	case config.AESCBC != nil:
		return local("aescbc", config.AESCBC.Keys, newCBC)
	case config.AESGCM != nil:
		return local("aesgcm", config.AESGCM.Keys, newGCM)
	case config.Secretbox != nil:
		return local("secretbox", config.Secretbox.Keys, newSecretbox)
	case config.KMS != nil:
		p, err := k.kms(config.KMS)
		return []provider{p}, err
	case config.Identity != nil:
		return nil, nil
	default:
		return nil, errors.New("none of aescbc, aesgcm, secretbox, kms and identity")
	}
}

// newProvider makes the prefix as kube-apiserver does (pkg/server/options/encryptionconfig/config.go).
func newProvider(name, version, key string, o opener) provider {
	return provider{prefix: []byte("k8s:enc:" + name + ":" + version + ":" + key + ":"), opener: o}
}

// local returns the providers of keys that stand in the configuration itself. No error shows a secret.
func local(name string, keys []apiserver.Key, cipher func(secret []byte) (opener, error)) ([]provider, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no keys", name)
	}
	var all []provider
	for _, key := range keys {
		if key.Name == "" {
			return nil, fmt.Errorf("%s has a key without a name", name)
		}
		secret, err := base64.StdEncoding.DecodeString(key.Secret)
		if err != nil {
			return nil, fmt.Errorf("%s: key %s: its secret is not base64", name, key.Name)
		}
		o, err := cipher(secret)
		if err != nil {
			return nil, fmt.Errorf("%s: key %s: %w", name, key.Name, err)
		}
		all = append(all, newProvider(name, "v1", key.Name, o))
	}
	return all, nil
}
