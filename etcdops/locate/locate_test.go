package locate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// Each file of testdata/trees is a node: its files, the links among them (a line "NAME -> TARGET" each), and what is to be
// found there. Files of certificates are empty: nobody looks into them.
func TestFind(t *testing.T) {
	trees, err := filepath.Glob("testdata/trees/*.txtar")
	if err != nil || len(trees) < 30 {
		t.Fatalf("%d trees, %v", len(trees), err)
	}
	for _, path := range trees {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			root := t.TempDir()
			want := plant(t, path, root)
			if diff := cmp.Diff(want, tell(root)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// plant makes a tree below root, and returns what is to be found in it.
func plant(t *testing.T, path, root string) (want string) {
	t.Helper()
	tree, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tree.Files {
		switch file.Name {
		case "want":
			want = string(file.Data)
		case "links":
			for line := range strings.Lines(string(file.Data)) {
				name, target, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				at := filepath.Join(root, name)
				mkdir(t, filepath.Dir(at))
				if err := os.Symlink(target, at); err != nil {
					t.Fatal(err)
				}
			}
		default:
			at := filepath.Join(root, file.Name)
			mkdir(t, filepath.Dir(at))
			if strings.HasSuffix(file.Name, "/") {
				mkdir(t, at)
			} else if err := os.WriteFile(at, file.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return want
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// tell finds, and writes down what was found, with the paths of the node.
func tell(root string) string {
	var w strings.Builder
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&w, "%s: %s\n", what, text)
		}
	}
	found, err := Find(root)
	if way := found.Way; way != nil {
		line("how", way.How)
		line("file", way.File)
		line("endpoints", strings.Join(way.Endpoints, " "))
		line("ca", way.CACert)
		line("cert", way.Cert)
		line("key", way.Key)
		line("prefix", way.Prefix)
		line("encryption", way.EncryptionConfig)
		for _, o := range way.Overrides {
			line("elsewhere", o.Resource.String()+" "+strings.Join(o.Endpoints, " "))
		}
	}
	for _, left := range found.LeftOut {
		line("left out", left.File+": "+left.Why)
	}
	if err != nil {
		line("error", err.Error())
		if unusable, ok := errors.AsType[*UnusableError](err); ok {
			line("hint", unusable.Hint())
			if unusable.NotEtcd {
				line("not etcd", "yes")
			}
		}
	}
	if w.Len() == 0 {
		w.WriteString("nothing\n")
	}
	return strings.ReplaceAll(w.String(), root, "")
}

// On the node itself links are left to the kernel: people see the names that they know.
func TestFindOnTheNodeItself(t *testing.T) {
	for _, name := range []string{"/etc/ssl", "etc/ssl/", "/etc/../etc/ssl"} {
		if path, err := (node{"/"}).path(name); path != "/etc/ssl" || err != nil {
			t.Errorf("%s is %s, %v", name, path, err)
		}
	}
}

func TestFindRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, file + "/nowhere"} {
		if found, err := Find(root); err == nil || found.Way != nil {
			t.Errorf("%s: %+v, %v", root, found, err)
		}
	}
}

// A file that is larger than any configuration is not read into memory.
func TestLargeFile(t *testing.T) {
	root := t.TempDir()
	mkdir(t, filepath.Join(root, kubeadmPods))
	file, err := os.Create(filepath.Join(root, kubeadmPods, "kube-apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(root); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

// A directory that takes a file's place is no file, and a pipe is not waited for.
func TestOddFiles(t *testing.T) {
	root := t.TempDir()
	mkdir(t, filepath.Join(root, kubeadmPods, "kube-apiserver.yaml"))
	mkdir(t, filepath.Join(root, "/etc/etcd.env"))
	if got := tell(root); got != "nothing\n" {
		t.Error(got)
	}
}
