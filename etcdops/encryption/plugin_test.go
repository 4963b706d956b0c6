//lint:file-ignore SA1019 The plugin of these tests speaks KMS v1, which upstream deprecates and clusters still have.

package encryption_test

import (
	"context"
	"crypto/cipher"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsv2 "k8s.io/kms/apis/v2"
)

// How a plugin behaves when it is asked to decrypt.
type behaviour int

const (
	answer behaviour = iota
	refuse
	hang
)

// testPlugin is a KMS plugin that serves v1 and v2 at one socket.
type testPlugin struct {
	endpoint string
	stop     func()
	aead     cipher.AEAD
	calls    chan struct{} // one for each call that hangs

	mu       sync.Mutex
	mode     behaviour
	decrypts int
}

func startPlugin(t testing.TB) *testPlugin {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") // a socket's path may have 107 bytes, and T.TempDir has the test's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "kms.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	p := &testPlugin{endpoint: "unix://" + socket, aead: block(t), calls: make(chan struct{}, 1000)}
	kmsv1.RegisterKeyManagementServiceServer(server, pluginV1{testPlugin: p})
	kmsv2.RegisterKeyManagementServiceServer(server, pluginV2{testPlugin: p})
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	p.stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

func (p *testPlugin) behave(b behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = b
}

// asked returns how often the plugin was asked to decrypt.
func (p *testPlugin) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decrypts
}

// await waits for a call that hangs.
func (p *testPlugin) await(t *testing.T) {
	t.Helper()
	select {
	case <-p.calls:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func (p *testPlugin) decrypt(ctx context.Context, sealed []byte) ([]byte, error) {
	p.mu.Lock()
	p.decrypts++
	mode := p.mode
	p.mu.Unlock()
	switch mode {
	case hang:
		p.calls <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	case refuse:
		return nil, status.Error(codes.PermissionDenied, "the key was destroyed")
	}
	plain, err := p.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return plain, nil
}

type pluginV1 struct {
	kmsv1.UnsafeKeyManagementServiceServer
	*testPlugin
}

func (p pluginV1) Version(context.Context, *kmsv1.VersionRequest) (*kmsv1.VersionResponse, error) {
	return &kmsv1.VersionResponse{Version: "v1beta1", RuntimeName: "test", RuntimeVersion: "1"}, nil
}

func (p pluginV1) Encrypt(_ context.Context, r *kmsv1.EncryptRequest) (*kmsv1.EncryptResponse, error) {
	return &kmsv1.EncryptResponse{Cipher: p.aead.Seal(nil, nil, r.Plain, nil)}, nil
}

func (p pluginV1) Decrypt(ctx context.Context, r *kmsv1.DecryptRequest) (*kmsv1.DecryptResponse, error) {
	if r.Version != "v1beta1" {
		return nil, status.Error(codes.InvalidArgument, "version")
	}
	plain, err := p.decrypt(ctx, r.Cipher)
	return &kmsv1.DecryptResponse{Plain: plain}, err
}

type pluginV2 struct {
	kmsv2.UnsafeKeyManagementServiceServer
	*testPlugin
}

func (p pluginV2) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	return &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: "key-of-the-plugin"}, nil
}

func (p pluginV2) Encrypt(_ context.Context, r *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	return &kmsv2.EncryptResponse{
		Ciphertext:  p.aead.Seal(nil, nil, r.Plaintext, nil),
		KeyId:       "key-of-the-plugin",
		Annotations: map[string][]byte{"a.example.com": []byte("1"), "b.example.com": []byte("2")},
	}, nil
}

func (p pluginV2) Decrypt(ctx context.Context, r *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	if r.KeyId != "key-of-the-plugin" || r.Uid == "" || string(r.Annotations["b.example.com"]) != "2" {
		return nil, status.Error(codes.InvalidArgument, "it is not what was encrypted")
	}
	plain, err := p.decrypt(ctx, r.Ciphertext)
	return &kmsv2.DecryptResponse{Plaintext: plain}, err
}
