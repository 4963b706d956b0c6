package encryption_test

import (
	"bytes"
	"context"
	stdaes "crypto/aes"
	stdcipher "crypto/cipher"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"

	"etcdsweep/decode"
	"etcdsweep/etcdops/encryption"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const podKey, otherKey = "/registry/pods/batch/runaway-x2x9c", "/registry/pods/batch/runaway-other"

// TestKMS opens what kube-apiserver's own transformers have written, both asking the same plugin, in every form that they write or
// have written.
func TestKMS(t *testing.T) {
	p := startPlugin(t)
	for _, form := range []string{"kms:v2 seed", "kms:v2 key", "kms:v1", "kms:v1 of old"} {
		t.Run(form, func(t *testing.T) {
			keys := load(t, kmsConfig(p.endpoint))
			write := writer(t, p.endpoint, form)
			first := open(t, keys, podKey, write(podKey, "{}"))
			if string(first.Plain) != "{}" {
				t.Errorf("opened: %q, %v", first.Plain, first.Sealed)
			}
			if moved := open(t, keys, otherKey, first.Value); strings.HasSuffix(form, "of old") != (moved.Sealed == nil) { // CBC does not authenticate
				t.Errorf("moved: %q, %v", moved.Plain, moved.Sealed)
			}
			before := p.asked()
			const more = 50
			for i := range more {
				plain := fmt.Sprintf("{%d}", i)
				if r := open(t, keys, otherKey, write(otherKey, plain)); string(r.Plain) != plain {
					t.Fatalf("opened: %q, %v", r.Plain, r.Sealed)
				}
			}
			want := 0 // a data key of v2 is asked for once, by whoever
			if strings.HasPrefix(form, "kms:v1") {
				want = more
			}
			if asked := p.asked() - before; asked != want {
				t.Errorf("the plugin was asked %d times, want %d", asked, want)
			}
		})
	}
}

// TestKMSDamaged holds that a damaged envelope is sealed, wherever the damage is.
func TestKMSDamaged(t *testing.T) {
	p := startPlugin(t)
	keys := load(t, kmsConfig(p.endpoint))
	for _, form := range []string{"kms:v2 seed", "kms:v2 key", "kms:v1"} {
		whole := writer(t, p.endpoint, form)(podKey, "plain")
		header := bytes.LastIndexByte(whole[:len("k8s:enc:kms:v1:test:")], ':') + 1
		for i := header; i < len(whole); i++ {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1
			for _, value := range [][]byte{whole[:i], damaged} {
				if r := open(t, keys, podKey, value); r.Sealed == nil && string(r.Plain) != "plain" {
					t.Fatalf("%s, byte %d: opened to %q", form, i, r.Plain)
				}
			}
		}
	}
}

// TestPluginAbsent and those below tell plugins apart that do not answer from those that do not want to. What has failed is not
// asked at every value.
func TestPluginAbsent(t *testing.T) {
	p := startPlugin(t)
	values := map[string][]byte{}
	for _, form := range []string{"kms:v2 seed", "kms:v1"} {
		values[form] = writer(t, p.endpoint, form)(podKey, "plain")
	}
	keys := load(t, kmsConfig(p.endpoint+".absent"))
	classes(t, keys, values, map[string]int{
		"encrypted (kms v2, key test: plugin does not answer)": 100,
		"encrypted (kms v1, key test: plugin does not answer)": 100,
	})
}

func TestPluginKilled(t *testing.T) {
	p := startPlugin(t)
	keys := load(t, kmsConfig(p.endpoint))
	write := writer(t, p.endpoint, "kms:v1")
	value := write(podKey, "plain")
	known := writer(t, p.endpoint, "kms:v2 key")(podKey, "plain")
	for _, v := range [][]byte{value, known} {
		if r := open(t, keys, podKey, v); r.Sealed != nil {
			t.Fatal(r.Sealed)
		}
	}
	p.stop()
	classes(t, keys, map[string][]byte{"v1": value}, map[string]int{"encrypted (kms v1, key test: plugin does not answer)": 100})
	if r := open(t, keys, podKey, known); string(r.Plain) != "plain" {
		t.Errorf("a data key that is known needs no plugin: %v", r.Sealed)
	}
}

func TestPluginHangs(t *testing.T) {
	p := startPlugin(t)
	values := map[string][]byte{}
	for _, form := range []string{"kms:v2 seed", "kms:v1"} {
		values[form] = writer(t, p.endpoint, form)(podKey, "plain")
	}
	p.behave(hang)
	keys := load(t, strings.ReplaceAll(kmsConfig(p.endpoint), "timeout: 5s", "timeout: 50ms"))
	before := p.asked()
	classes(t, keys, values, map[string]int{
		"encrypted (kms v2, key test: plugin does not answer)": 100,
		"encrypted (kms v1, key test: plugin does not answer)": 100,
	})
	if asked := p.asked() - before; asked != 2 {
		t.Errorf("a plugin that hangs was asked %d times, want once by each provider", asked)
	}
}

// TestPluginHangsAndContextEnds: who gives up waiting is not told that the value is unreadable.
func TestPluginHangsAndContextEnds(t *testing.T) {
	p := startPlugin(t)
	value := writer(t, p.endpoint, "kms:v2 seed")(podKey, "plain")
	p.behave(hang)
	keys := load(t, kmsConfig(p.endpoint))
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error)
	r := decode.Record{Key: podKey, Value: value}
	go func() { opened <- keys.Open(ctx, &r) }()
	p.await(t)
	cancel()
	if err := <-opened; err != context.Canceled || r.Sealed != nil || r.Plain != nil {
		t.Errorf("%v, %+v", err, r)
	}
	p.behave(answer)
	if r := open(t, keys, podKey, value); string(r.Plain) != "plain" {
		t.Errorf("who gave up has spoilt it for others: %v", r.Sealed)
	}
}

func TestPluginRefuses(t *testing.T) {
	p := startPlugin(t)
	values := map[string][]byte{}
	for _, form := range []string{"kms:v2 seed", "kms:v1"} {
		values[form] = writer(t, p.endpoint, form)(podKey, "plain")
	}
	p.behave(refuse)
	keys := load(t, kmsConfig(p.endpoint))
	before := p.asked()
	classes(t, keys, values, map[string]int{
		"encrypted (kms v2, key test: plugin refuses)": 100,
		"encrypted (kms v1, key test: plugin refuses)": 100,
	})
	if asked := p.asked() - before; asked != 101 {
		t.Errorf("it was asked %d times, want once for the data key that is shared, and for each of the 100 others", asked)
	}
}

// TestPluginRenamed looks for a plugin under a name that the configuration does not have.
func TestPluginRenamed(t *testing.T) {
	p := startPlugin(t)
	values := map[string][]byte{}
	for _, form := range []string{"kms:v2 seed", "kms:v1"} {
		values[form] = writer(t, p.endpoint, form)(podKey, "plain")
	}
	keys := load(t, strings.ReplaceAll(kmsConfig(p.endpoint), "name: test", "name: other"))
	classes(t, keys, values, map[string]int{
		"encrypted (kms v2, key test: no such key)": 100,
		"encrypted (kms v1, key test: no such key)": 100,
	})
}

// TestClosed holds that keys may be closed more than once, by each of the clients that share them.
func TestClosed(t *testing.T) {
	p := startPlugin(t)
	value := writer(t, p.endpoint, "kms:v1")(podKey, "plain")
	keys := load(t, kmsConfig(p.endpoint))
	if r := open(t, keys, podKey, value); r.Sealed != nil {
		t.Fatal(r.Sealed)
	}
	for range 2 {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	}
	if r := open(t, keys, podKey, value); r.Sealed == nil || r.Sealed.Why != "plugin does not answer" {
		t.Errorf("%+v", r)
	}
}

// classes opens each value 100 times, and counts why not.
func classes(t *testing.T, keys *encryption.Keys, values map[string][]byte, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for _, value := range values {
		for range 100 {
			if r := open(t, keys, podKey, value); r.Sealed != nil {
				got[r.Sealed.Class()]++
			}
		}
	}
	if !maps.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func open(t testing.TB, keys *encryption.Keys, key string, value []byte) decode.Record {
	t.Helper()
	r := decode.Record{Key: key, Value: value}
	if err := keys.Open(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if (r.Plain == nil) == (r.Sealed == nil) {
		t.Fatalf("%+v", r)
	}
	return r
}

// kmsConfig names one plugin as v2 and as v1.
func kmsConfig(endpoint string) string {
	return `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: ['*.*']
  providers:
  - kms: {apiVersion: v2, name: test, endpoint: "` + endpoint + `", timeout: 5s}
  - kms: {name: test, endpoint: "` + endpoint + `", timeout: 5s}
`
}

// writer returns what kube-apiserver writes with, in one of the forms of its history.
func writer(t testing.TB, endpoint, form string) func(key, plain string) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	transformer := envelopeV1(ctx, t, endpoint, strings.HasSuffix(form, "of old"))
	if strings.HasPrefix(form, "kms:v2") {
		transformer = envelopeV2(ctx, t, endpoint, strings.HasSuffix(form, "seed"))
	}
	version, _, _ := strings.Cut(form, " ")
	return func(key, plain string) []byte {
		t.Helper()
		stored, err := transformer.TransformToStorage(ctx, []byte(plain), value.DefaultContext(key))
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte("k8s:enc:"+version+":test:"), stored...)
	}
}

func envelopeV1(ctx context.Context, t testing.TB, endpoint string, old bool) value.Transformer {
	t.Helper()
	service, err := envelope.NewGRPCService(ctx, endpoint, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.NewEnvelopeTransformer(service, 10, func(block stdcipher.Block) (value.Transformer, error) {
		if old {
			return aes.NewCBCTransformer(block), nil
		}
		return aes.NewGCMTransformer(block)
	})
}

func envelopeV2(ctx context.Context, t testing.TB, endpoint string, seed bool) value.Transformer {
	t.Helper()
	service, err := kmsv2.NewGRPCService(ctx, endpoint, "test", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	transformer, object, cacheKey, err := kmsv2.GenerateTransformer(ctx, "uid", service, seed)
	if err != nil {
		t.Fatal(err)
	}
	state := kmsv2.State{
		Transformer:                           transformer,
		EncryptedObjectKeyID:                  object.KeyID,
		EncryptedObjectEncryptedDEKSource:     object.EncryptedDEKSource,
		EncryptedObjectAnnotations:            object.Annotations,
		EncryptedObjectEncryptedDEKSourceType: object.EncryptedDEKSourceType,
		ExpirationTimestamp:                   time.Now().Add(time.Hour),
		CacheKey:                              cacheKey,
	}
	return kmsv2.NewEnvelopeTransformer(service, "test", func() (kmsv2.State, error) { return state, nil }, "")
}

// block is a key for tests.
func block(t testing.TB) stdcipher.AEAD {
	t.Helper()
	b, err := stdaes.NewCipher(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := stdcipher.NewGCMWithRandomNonce(b)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}
