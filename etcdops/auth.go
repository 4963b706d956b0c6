package etcdops

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

// Access is what etcd's authentication lets the client do.
type Access struct {
	Enabled bool
	User    string   // by login, or the name of the client certificate
	Roles   []string // of the user

	permissions []*authpb.Permission
}

// rootRole may do everything (etcd server/auth, rootRole).
const rootRole = "root"

// Root reports whether the user may do everything, such as taking a snapshot.
func (a *Access) Root() bool { return !a.Enabled || slices.Contains(a.Roles, rootRole) }

// MayRead reports whether the user may read all keys with a prefix.
func (a *Access) MayRead(prefix string) bool { return a.may(authpb.Permission_READ, prefix) }

// MayWrite reports whether the user may write all keys with a prefix.
func (a *Access) MayWrite(prefix string) bool { return a.may(authpb.Permission_WRITE, prefix) }

// may looks for a permission that has the whole range: one that is put together from several is not seen.
func (a *Access) may(kind authpb.Permission_Type, prefix string) bool {
	begin, end := []byte(prefix), []byte(clientv3.GetPrefixRangeEnd(prefix))
	return a.Root() || slices.ContainsFunc(a.permissions, func(p *authpb.Permission) bool {
		if p.PermType != authpb.Permission_READWRITE && p.PermType != kind || bytes.Compare(p.Key, begin) > 0 {
			return false
		}
		open := len(p.RangeEnd) == 1 && p.RangeEnd[0] == 0 // to the end of all keys
		return open || bytes.Compare(p.RangeEnd, end) >= 0
	})
}

// Access asks etcd who the client is to it, and what that may do. It changes no key. What etcd 3.4 can't be asked, whether
// authentication is on, shows by whether the client has logged in, or by a refusal.
func (c *Client) Access(ctx context.Context) (Access, error) {
	a := Access{User: c.cfg.Username}
	if a.User == "" {
		a.User = commonName(c.tls)
	}
	status, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.AuthStatusResponse, error) {
		return etcd.AuthStatus(ctx)
	})
	switch {
	case err == nil:
		a.Enabled = status.Enabled
	case errors.Is(err, rpctypes.ErrPermissionDenied), loginRefused(err):
		a.Enabled = true
	case errorCode(err) == codes.Unimplemented:
		if a.Enabled, err = c.refusesStrangers(ctx); err != nil {
			return a, err
		}
	default:
		return a, fmt.Errorf("status of authentication: %w", err)
	}
	if !a.Enabled || a.User == "" {
		return a, nil
	}
	user, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.AuthUserGetResponse, error) {
		return etcd.UserGet(ctx, a.User)
	})
	switch {
	case errors.Is(err, rpctypes.ErrUserNotFound), errors.Is(err, rpctypes.ErrPermissionDenied), loginRefused(err):
		return a, nil // nobody, who may do nothing
	case err != nil:
		return a, fmt.Errorf("roles of user %s: %w", a.User, err)
	}
	a.Roles = user.Roles
	for _, name := range a.Roles {
		if name == rootRole {
			continue
		}
		role, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.AuthRoleGetResponse, error) {
			return etcd.RoleGet(ctx, name)
		})
		if err != nil {
			return a, fmt.Errorf("permissions of role %s: %w", name, err)
		}
		a.permissions = append(a.permissions, role.Perm...)
	}
	return a, nil
}

// refusesStrangers finds out whether authentication is on where that can't be asked for: nobody can log in while it is off.
func (c *Client) refusesStrangers(ctx context.Context) (bool, error) {
	if c.cfg.Username != "" {
		return true, nil
	}
	_, err := once(ctx, c, revisionAt("\x00"))
	if errors.Is(err, rpctypes.ErrPermissionDenied) || loginRefused(err) {
		return true, nil
	}
	return false, err
}

// commonName returns the name in the client's certificate, which etcd takes for the user's when it trusts certificates.
func commonName(config *tls.Config) string {
	if config == nil || len(config.Certificates) == 0 || config.Certificates[0].Leaf == nil {
		return ""
	}
	return config.Certificates[0].Leaf.Subject.CommonName
}
