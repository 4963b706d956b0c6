package encryption_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"etcdsweep/decode"
	"etcdsweep/etcdops/encryption"
)

// localProviders are those that need no plugin.
const localProviders = `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: ['*.*']
  providers:
  - aescbc: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}, {name: k, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}
  - aesgcm: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
  - secretbox: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
`

// FuzzDecrypt opens noise with each local provider: it opens or stays sealed.
func FuzzDecrypt(f *testing.F) {
	keys := load(f, localProviders)
	for record := range zoo(f) {
		if decode.Encryption(record.Value) != nil {
			f.Add(record.Value[:min(len(record.Value), 200)])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		opensSafely(t, keys, b)
		for _, header := range []string{"k8s:enc:aescbc:v1:k:", "k8s:enc:aesgcm:v1:k:", "k8s:enc:secretbox:v1:k:"} {
			opensSafely(t, keys, append([]byte(header), b...))
		}
	})
}

// FuzzDecryptKMS opens noise as envelopes of KMS.
func FuzzDecryptKMS(f *testing.F) {
	p := startPlugin(f)
	keys := load(f, kmsConfig(p.endpoint))
	for _, form := range []string{"kms:v2 seed", "kms:v2 key", "kms:v1", "kms:v1 of old"} {
		f.Add(writer(f, p.endpoint, form)(podKey, "{}")[len("k8s:enc:kms:v1:test:"):])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, header := range []string{"k8s:enc:kms:v1:test:", "k8s:enc:kms:v2:test:"} {
			opensSafely(t, keys, append([]byte(header), b...))
		}
	})
}

// FuzzConfig reads noise as a configuration.
func FuzzConfig(f *testing.F) {
	f.Add(zooConfig(f))
	f.Add(localProviders)
	f.Add(kmsConfig("unix:///kms.sock"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, config string) {
		file := filepath.Join(dir, "encryption.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := encryption.Load(file, "/registry")
		if (keys == nil) == (err == nil) {
			t.Fatalf("%v, %v", keys, err)
		}
		if keys != nil {
			opensSafely(t, keys, []byte("k8s:enc:aesgcm:v1:k:noise"))
			if err := keys.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func opensSafely(t *testing.T, keys *encryption.Keys, value []byte) {
	t.Helper()
	r := decode.Record{Key: podKey, Value: bytes.Clone(value)}
	if err := keys.Open(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Value, value) {
		t.Fatal("the stored value has changed")
	}
	if (decode.Encryption(value) != nil) != ((r.Plain == nil) != (r.Sealed == nil)) {
		t.Fatalf("%q: %+v", value, r)
	}
	if _, err := r.Decode(); r.Sealed != nil && err != r.Sealed {
		t.Fatalf("%q: %v", value, err)
	}
}
