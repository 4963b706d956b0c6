package encryption

import (
	"context"
	stdaes "crypto/aes"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"

	"etcdsweep/decode"
)

// kms makes the provider of a KMS plugin. Nothing is connected yet.
func (k *Keys) kms(config *apiserver.KMSConfiguration) (provider, error) {
	switch {
	case config.Name == "":
		return provider{}, errors.New("kms has no name")
	case config.Timeout.Duration <= 0:
		return provider{}, fmt.Errorf("kms %s: timeout %s: want more than 0s", config.Name, config.Timeout.Duration)
	case config.APIVersion != "v1" && config.APIVersion != "v2":
		return provider{}, fmt.Errorf("kms %s: apiVersion %q: want v1 or v2", config.Name, config.APIVersion)
	}
	p, err := newPlugin(config.Endpoint, config.Timeout.Duration)
	if err != nil {
		return provider{}, fmt.Errorf("kms %s: %w", config.Name, err)
	}
	k.plugins = append(k.plugins, p)
	var o opener = kmsV1{p}
	if config.APIVersion == "v2" {
		o = &kmsV2{plugin: p, opened: map[string]dek{}}
	}
	return newProvider("kms", config.APIVersion, config.Name, o), nil
}

// kmsV1 opens envelopes of KMS v1: the encrypted data key, behind its length in 16 bits, and the data
// (apiserver pkg/storage/value/encrypt/envelope/envelope.go). Every value has a key of its own, so the plugin is asked for each.
type kmsV1 struct{ plugin *plugin }

func (e kmsV1) open(ctx context.Context, key string, sealed []byte) ([]byte, error) {
	var encrypted cryptobyte.String
	data := cryptobyte.String(sealed)
	if !data.ReadUint16LengthPrefixed(&encrypted) {
		return nil, &sealedError{decode.NotOpened, errors.New("envelope is cut off")}
	}
	secret, err := e.plugin.decryptV1(ctx, encrypted)
	if err != nil {
		return nil, err
	}
	gcm, err := newGCM(secret)
	if err != nil {
		return nil, &sealedError{decode.NotOpened, fmt.Errorf("data key: %w", err)}
	}
	plain, err := gcm.open(ctx, key, data)
	if err == nil {
		return plain, nil
	}
	older, otherErr := newCBC(secret) // written by Kubernetes before 1.25
	if otherErr != nil {
		return nil, err
	}
	if plain, otherErr := older.open(ctx, key, data); otherErr == nil {
		return plain, nil
	}
	return nil, err
}

// kmsV2 opens envelopes of KMS v2 (apiserver pkg/storage/value/encrypt/envelope/kmsv2/envelope.go). Many values share a data
// key, so what the plugin said of one is kept.
type kmsV2 struct {
	plugin *plugin

	mu     sync.Mutex
	opened map[string]dek // by its envelope without the data
}

// dek is what the plugin said of a data key, or of the seed of data keys.
type dek struct {
	secret []byte
	err    error
	until  time.Time // that an error counts
}

const maxDEKs = 1000 // kept; there are a few for each apiserver and key

func (e *kmsV2) open(ctx context.Context, key string, sealed []byte) ([]byte, error) {
	var object kmstypes.EncryptedObject
	if err := proto.Unmarshal(sealed, &object); err != nil {
		return nil, &sealedError{decode.NotOpened, fmt.Errorf("envelope: %w", err)}
	}
	data := object.EncryptedData
	object.EncryptedData = nil
	secret, err := e.dataKey(ctx, &object)
	if err != nil {
		return nil, err
	}
	reads, err := dataReader(object.EncryptedDEKSourceType, secret)
	if err != nil {
		return nil, &sealedError{decode.NotOpened, fmt.Errorf("data key: %w", err)}
	}
	return cipher{reads}.open(ctx, key, data)
}

// dataReader is made for each value: the one of kube-apiserver for seeds keeps every key that it derives for ten minutes.
func dataReader(kind kmstypes.EncryptedDEKSourceType, secret []byte) (value.Read, error) {
	switch kind {
	case kmstypes.EncryptedDEKSourceType_AES_GCM_KEY:
		block, err := stdaes.NewCipher(secret)
		if err != nil {
			return nil, err
		}
		return aes.NewGCMTransformer(block)
	case kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED:
		return aes.NewHKDFExtendedNonceGCMTransformer(secret)
	default:
		return nil, fmt.Errorf("unknown type %d", kind)
	}
}

// dataKey returns what the plugin decrypts of an envelope. What it has refused it is not asked again for a while: behind it may be a
// service that is paid for each answer.
func (e *kmsV2) dataKey(ctx context.Context, envelope *kmstypes.EncryptedObject) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(envelope)
	if err != nil {
		return nil, &sealedError{decode.NotOpened, fmt.Errorf("envelope: %w", err)}
	}
	name := string(raw)
	e.mu.Lock()
	known, ok := e.opened[name]
	e.mu.Unlock()
	if ok && (known.err == nil || time.Now().Before(known.until)) {
		return known.secret, known.err
	}
	secret, err := e.plugin.decryptV2(ctx, envelope)
	if sealed, ok := errors.AsType[*sealedError](err); err != nil && (!ok || sealed.why != decode.Refused) {
		return nil, err // which the plugin remembers itself, or the end of ctx
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.opened) >= maxDEKs {
		clear(e.opened)
	}
	e.opened[name] = dek{secret, err, time.Now().Add(askAgain)}
	return secret, err
}
