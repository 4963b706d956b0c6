package locate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// maxFile is more than any file that is read here has: configuration that people write.
const maxFile = 1 << 20

// node is where the files of a node are. Its methods take paths as the node's own programs name them, and return errors
// with the path as it is opened here.
type node struct{ root string }

func newNode(root string) (node, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return node{}, err
	}
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", root)
	}
	return node{root}, err
}

// path returns where a file is, with links followed below the root. On the node itself the kernel follows them, so that
// people see the names that they know.
func (n node) path(name string) (string, error) {
	if n.root == "/" {
		return filepath.Clean("/" + name), nil
	}
	return securejoin.SecureJoin(n.root, name)
}

// read returns a file's content. It is nil, without an error, if there is no such file.
func (n node) read(name string) (path string, content []byte, err error) {
	path, err = n.path(name)
	if err != nil {
		return name, nil, err
	}
	file, err := os.Open(path)
	switch {
	case absent(err):
		return path, nil, nil
	case err != nil:
		return path, nil, reason(err)
	}
	defer file.Close()
	switch info, err := file.Stat(); {
	case err != nil:
		return path, nil, reason(err)
	case !info.Mode().IsRegular():
		return path, nil, nil
	}
	content, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return path, nil, reason(err)
	case len(content) > maxFile:
		return path, nil, fmt.Errorf("larger than %d bytes", maxFile)
	case content == nil:
		content = []byte{}
	}
	return path, content, nil
}

// list returns the names in a directory, in order; none if it is absent.
func (n node) list(dir string) ([]string, error) {
	path, err := n.path(dir)
	if err != nil {
		return nil, unusable(dir, err)
	}
	entries, err := os.ReadDir(path)
	switch {
	case absent(err):
		return nil, nil
	case err != nil:
		return nil, unusable(path, reason(err))
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

// has reports whether there is something of that name. What may not be looked at counts as there.
func (n node) has(name string) bool {
	path, err := n.path(name)
	return err == nil && n.hasFile(path)
}

// hasFile is has for a path that was resolved before.
func (node) hasFile(path string) bool {
	_, err := os.Stat(path)
	return !absent(err)
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// reason takes the path out of an error of package os: who returns it names the file.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
