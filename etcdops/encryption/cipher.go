package encryption

import (
	"context"
	stdaes "crypto/aes"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"

	"etcdsweep/decode"
)

// cipher is an opener that needs nothing but its key.
type cipher struct{ reads value.Read }

func (c cipher) open(ctx context.Context, key string, sealed []byte) ([]byte, error) {
	plain, _, err := c.reads.TransformFromStorage(ctx, sealed, value.DefaultContext(key))
	if err != nil {
		return nil, &sealedError{decode.NotOpened, err}
	}
	return plain, nil
}

func newGCM(secret []byte) (opener, error) {
	block, err := stdaes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	reads, err := aes.NewGCMTransformer(block)
	return cipher{reads}, err
}

// cbc is AES-CBC, which does not authenticate: of 256 values under another key one has a valid padding, and opens to noise.
type cbc struct{ cipher }

func (c cbc) open(ctx context.Context, key string, sealed []byte) ([]byte, error) {
	if len(sealed) < 2*stdaes.BlockSize { // kube-apiserver's transformer panics if there is nothing behind the first block
		return nil, &sealedError{decode.NotOpened, errors.New("it is cut off")}
	}
	plain, err := c.cipher.open(ctx, key, sealed)
	if err == nil && decode.EncodingOf(plain) == "" {
		return nil, &sealedError{decode.NotOpened, errors.New("what comes out is nothing that kube-apiserver stores")}
	}
	return plain, err
}

func newCBC(secret []byte) (opener, error) {
	block, err := stdaes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cbc{cipher{aes.NewCBCTransformer(block)}}, nil
}

func newSecretbox(secret []byte) (opener, error) {
	var key [32]byte
	if copy(key[:], secret) != len(secret) || len(secret) != len(key) {
		return nil, fmt.Errorf("its secret has %d bytes, want %d", len(secret), len(key))
	}
	return cipher{secretbox.NewSecretboxTransformer(key)}, nil
}
