//lint:file-ignore SA1019 Clusters have values of KMS v1, and plugins that open them: upstream deprecates the interface, not the data.

package encryption

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/uuid"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsv2 "k8s.io/kms/apis/v2"
	"k8s.io/kms/pkg/util"

	"etcdsweep/decode"
)

// askAgain is how long a plugin that did not answer is left alone, and how long a refusal counts.
const askAgain = 30 * time.Second

// plugin is a KMS plugin at its socket. It is connected when it is first asked.
type plugin struct {
	path       string
	connection *grpc.ClientConn
	close      func() error // more than once does no harm
	timeout    time.Duration

	mu   sync.Mutex
	down error // why it does not answer, until the moment below
	till time.Time
}

func newPlugin(endpoint string, timeout time.Duration) (*plugin, error) {
	path, err := util.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithAuthority("localhost"), // as kube-apiserver does; a path is none
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: timeout},
			MinConnectTimeout: timeout,
		}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return nil, err
	}
	return &plugin{path: path, connection: connection, close: sync.OnceValue(connection.Close), timeout: timeout}, nil
}

func (p *plugin) decryptV1(ctx context.Context, encrypted []byte) ([]byte, error) {
	var plain []byte
	err := p.ask(ctx, func(ctx context.Context) error {
		response, err := kmsv1.NewKeyManagementServiceClient(p.connection).Decrypt(ctx, &kmsv1.DecryptRequest{Version: "v1beta1", Cipher: encrypted})
		plain = response.GetPlain()
		return err
	})
	return plain, err
}

func (p *plugin) decryptV2(ctx context.Context, envelope *kmstypes.EncryptedObject) ([]byte, error) {
	var plain []byte
	err := p.ask(ctx, func(ctx context.Context) error {
		response, err := kmsv2.NewKeyManagementServiceClient(p.connection).Decrypt(ctx, &kmsv2.DecryptRequest{
			Ciphertext:  envelope.EncryptedDEKSource,
			Uid:         string(uuid.NewUUID()),
			KeyId:       envelope.KeyID,
			Annotations: envelope.Annotations,
		})
		plain = response.GetPlaintext()
		return err
	})
	return plain, err
}

// ask makes one request, unless the plugin has just failed to answer one. The error is a *sealedError, or that of ctx.
func (p *plugin) ask(ctx context.Context, request func(context.Context) error) error {
	p.mu.Lock()
	down, till := p.down, p.till
	p.mu.Unlock()
	if down != nil && time.Now().Before(till) {
		return &sealedError{decode.NoAnswer, down}
	}
	bounded, cancel := context.WithTimeout(ctx, p.timeout)
	err := request(bounded)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := decode.Refused
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled: // the last one: the connection was closed
		why = decode.NoAnswer
	}
	if err != nil {
		err = fmt.Errorf("KMS plugin at %s: %w", p.path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = nil
	switch {
	case err == nil:
		return nil
	case why == decode.NoAnswer:
		p.down, p.till = err, time.Now().Add(askAgain)
	}
	return &sealedError{why, err}
}
