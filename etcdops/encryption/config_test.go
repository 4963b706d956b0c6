package encryption_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"

	"etcdsweep/decode"
	"etcdsweep/etcdops/encryption"
)

// TestRules holds which keys are tried for which etcd key: those of the resource's own rule, else of its group's, else of all.
func TestRules(t *testing.T) {
	const secretA, secretB, secretC, secretD = "a", "b", "c", "d"
	keys := load(t, `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, nodes, jobs.batch, reports.policy.example.com]
  providers: [{secretbox: {keys: [{name: k, secret: `+encoded(secretA)+`}]}}]
- resources: ['*.apps', '*.policy.example.com']
  providers: [{identity: {}}, {secretbox: {keys: [{name: k, secret: `+encoded(secretB)+`}]}}]
- resources: ['*.']
  providers: [{secretbox: {keys: [{name: k, secret: `+encoded(secretC)+`}]}}]
- resources: ['*.*']
  providers: [{secretbox: {keys: [{name: k, secret: `+encoded(secretD)+`}]}}]
`)
	for key, secret := range map[string]string{
		"/registry/secrets/ns/name":                                  secretA,
		"/registry/minions/node":                                     secretA,
		"/registry/jobs/ns/name":                                     secretA,
		"/registry/policy.example.com/reports/ns/name":               secretA,
		"/registry/policy.example.com/scans/name":                    secretB,
		"/registry/deployments/ns/name":                              secretB,
		"/registry/services/endpoints/ns/name":                       secretC,
		"/registry/pods/ns/name":                                     secretC,
		"/registry/ranges/serviceips":                                secretC,
		"/registry/ingress/ns/name":                                  secretD,
		"/registry/apiextensions.k8s.io/customresourcedefinitions/n": secretD,
	} {
		for _, tried := range []string{secretA, secretB, secretC, secretD} {
			r := open(t, keys, key, sealedWith(t, tried, key))
			if (r.Plain != nil) != (tried == secret) {
				t.Errorf("%s: secret %s: opened to %q, %v", key, tried, r.Plain, r.Sealed)
			}
		}
	}
	if r := open(t, keys, "/other/secrets/ns/name", sealedWith(t, secretA, "")); r.Plain != nil {
		t.Error("what is under another prefix is no Secret")
	}
}

// TestSeveralKeysOfOneName holds that they are tried in order, as while a key is being replaced.
func TestSeveralKeysOfOneName(t *testing.T) {
	keys := load(t, `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [pods]
  providers:
  - secretbox: {keys: [{name: k, secret: `+encoded("new")+`}, {name: k, secret: `+encoded("old")+`}]}
  - secretbox: {keys: [{name: k, secret: `+encoded("older")+`}]}
- resources: [pods]
  providers:
  - secretbox: {keys: [{name: k, secret: `+encoded("oldest")+`}]}
`)
	for _, secret := range []string{"new", "old", "older", "oldest"} {
		if r := open(t, keys, podKey, sealedWith(t, secret, podKey)); r.Plain == nil {
			t.Errorf("%s: %v", secret, r.Sealed)
		}
	}
	if r := open(t, keys, podKey, sealedWith(t, "none", podKey)); r.Sealed == nil || r.Sealed.Class() != "encrypted (secretbox, key k: wrong key or damaged)" {
		t.Errorf("%+v", r)
	}
}

// TestPlain holds that what is not encrypted is left as it is.
func TestPlain(t *testing.T) {
	keys := load(t, localProviders)
	for _, value := range []string{"", "{}", "k8s\x00", "k8s:en"} {
		r := decode.Record{Key: podKey, Value: []byte(value)}
		if err := keys.Open(t.Context(), &r); err != nil || r.Plain != nil || r.Sealed != nil {
			t.Errorf("%q: %v, %+v", value, err, r)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [pods]\n  providers:\n  - "
	for config, want := range map[string]string{
		"":                            "Object 'Kind' is missing",
		"a: [":                        "",
		"apiVersion: v1\nkind: Pod\n": "no kind \"Pod\" is registered",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n":  "it is of kind AdmissionConfiguration, not EncryptionConfiguration",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n": "no resources",
		head + "{}":                 "resources[0].providers[0]: none of aescbc, aesgcm, secretbox, kms and identity",
		head + "aesgcm: {keys: []}": "aesgcm has no keys",
		head + "aesgcm: {keys: [{secret: c2VjcmV0}]}":                  "a key without a name",
		head + "aesgcm: {keys: [{name: k, secret: 'c2VjcmV0!'}]}":      "key k: its secret is not base64",
		head + "aesgcm: {keys: [{name: k, secret: c2VjcmV0}]}":         "key k: crypto/aes: invalid key size 6",
		head + "secretbox: {keys: [{name: k, secret: c2VjcmV0}]}":      "key k: its secret has 6 bytes, want 32",
		head + "kms: {endpoint: 'unix:///a'}":                          "kms has no name",
		head + "kms: {name: p, endpoint: 'http:///a'}":                 "unsupported scheme",
		head + "kms: {name: p, endpoint: 'unix:///a', timeout: 0s}":    "timeout 0s",
		head + "kms: {name: p, endpoint: 'unix:///a', apiVersion: v3}": `apiVersion "v3": want v1 or v2`,
	} {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := encryption.Load(file, "/registry")
		wrong, ok := errors.AsType[*encryption.ConfigError](err)
		if !ok || keys != nil || !strings.Contains(err.Error(), want) || wrong.File != file || wrong.Hint() == "" {
			t.Errorf("%q: %v, want %s", config, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%q: the error shows a secret: %v", config, err)
		}
	}
}

func encoded(secret string) string { return base64.StdEncoding.EncodeToString(padded(secret)) }

func padded(secret string) []byte { return append([]byte(secret), make([]byte, 32-len(secret))...) }

// sealedWith encrypts a value with a secret of at most 32 bytes.
func sealedWith(t *testing.T, secret, key string) []byte {
	t.Helper()
	sealed, err := secretbox.NewSecretboxTransformer([32]byte(padded(secret))).TransformToStorage(t.Context(), []byte("{}"), value.DefaultContext(key))
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("k8s:enc:secretbox:v1:k:"), sealed...)
}
