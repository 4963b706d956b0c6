package locate

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// seeds adds the files of the trees whose names end so.
func seeds(f *testing.F, endings ...string) {
	trees, err := filepath.Glob("testdata/trees/*.txtar")
	if err != nil || len(trees) == 0 {
		f.Fatal(err)
	}
	for _, tree := range trees {
		archive, err := txtar.ParseFile(tree)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if slices.ContainsFunc(endings, func(ending string) bool { return strings.HasSuffix(file.Name, ending) }) {
				f.Add(file.Data)
			}
		}
	}
}

// Whatever stands in a manifest, what is found is an address and files below the root.
func FuzzParsePod(f *testing.F) {
	seeds(f, "kube-apiserver.yaml", ".manifest", ".json")
	f.Fuzz(func(t *testing.T, manifest []byte) {
		p, err := parsePod(manifest, apiServer)
		if err != nil || p == nil {
			return
		}
		for _, name := range []string{"/etc/kubernetes/pki/ca.crt", "/../..", "/"} {
			if at, err := p.outside(name); err == nil && !path.IsAbs(at) {
				t.Fatalf("%s is %q", name, at)
			}
		}
		check(t, kubeadmPods+"/kube-apiserver.yaml", manifest)
	})
}

func FuzzUnit(f *testing.F) {
	seeds(f, ".service", ".conf")
	f.Fuzz(func(t *testing.T, text []byte) {
		var u unit
		u.parse(text)
		for _, word := range u.command() {
			if strings.ContainsRune(word, '\n') && !strings.ContainsRune(string(text), '\n') {
				t.Fatalf("%q out of nothing", word)
			}
		}
		check(t, "/etc/systemd/system/kube-apiserver.service", text)
	})
}

// check finds in a node with this one file.
func check(t *testing.T, name string, content []byte) {
	root := t.TempDir()
	mkdir(t, filepath.Dir(filepath.Join(root, name)))
	if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := Find(root)
	if err != nil || found.Way == nil {
		return
	}
	if len(found.Way.Endpoints) == 0 {
		t.Fatalf("no endpoint in %+v", found.Way)
	}
	for _, file := range []string{found.Way.File, found.Way.CACert, found.Way.Cert, found.Way.Key, found.Way.EncryptionConfig} {
		if file != "" && file != root && !strings.HasPrefix(file, root+"/") {
			t.Fatalf("%s is not below the root", file)
		}
	}
	if prefix := found.Way.Prefix; prefix != "" && (path.Clean(prefix) != prefix || prefix[0] != '/' || prefix == "/") {
		t.Fatalf("prefix %q", prefix)
	}
}
