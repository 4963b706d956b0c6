package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

const (
	serverPackage = "go.etcd.io/etcd/server/v3" // etcd itself; its version is in go.mod
	syncModule    = "go.etcd.io/etcd/client/pkg/v3"
	syncFile      = "fileutil/sync_linux.go" // of that module: how etcd syncs its log

	// slowDisk is the variable that names the file with the time by which a member's disk is slow.
	slowDisk = "LAB_SLOW_DISK"
)

// BuildServer builds the etcd server of the version in go.mod, with one change: its disk can be made slow (SlowDisk). It
// returns the path of the binary, which stays in this user's cache, so that only the first time takes long. No
// network is needed once the module's dependencies are there.
func BuildServer(ctx context.Context) (binary string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("lab: build etcd: %w", err)
	}
	b := builder{dir: filepath.Join(cache, "etcdsweep-lab")}
	if err := b.build(ctx); err != nil {
		return "", fmt.Errorf("lab: build etcd: %w", err)
	}
	return b.binary(), nil
}

// builder builds in a directory of its own. The module with the change stands there, and a go.mod that takes it from there.
type builder struct{ dir string }

func (b builder) binary() string { return filepath.Join(b.dir, "etcd") }

func (b builder) build(ctx context.Context) (err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(b.dir, "lock")) // tests of several packages build at the same time
	if err := lock.Lock(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	main, err := moduleDir(ctx, "etcdsweep")
	if err != nil {
		return err
	}
	original, err := moduleDir(ctx, syncModule)
	if err != nil {
		return err
	}
	changed := filepath.Join(b.dir, "module")
	if err := copyTree(original, changed); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(main, "test", "lab", "testdata", filepath.Base(syncFile)), filepath.Join(changed, syncFile)); err != nil {
		return err
	}
	modfile := filepath.Join(b.dir, "go.mod")
	if err := copyFile(filepath.Join(main, "go.sum"), filepath.Join(b.dir, "go.sum")); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(main, "go.mod"), modfile); err != nil {
		return err
	}
	if err := command(ctx, main, "go", "mod", "edit", "-replace", syncModule+"="+changed, modfile); err != nil {
		return err
	}
	return command(ctx, main, "go", "build", "-modfile", modfile, "-o", b.binary(), serverPackage)
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// moduleDir returns where a module's source is.
func moduleDir(ctx context.Context, module string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("go list %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// copyTree copies the files below a directory.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, relative), 0o700)
		}
		return copyFile(path, filepath.Join(to, relative))
	})
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
