// Package arch holds the architecture: which package may import which, and what no code may do.
package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "etcdsweep"

type goPackage struct {
	Dir, ImportPath string
	GoFiles         []string
	Imports         []string
}

// packages lists the packages of the module, by their path below it.
func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	list := exec.Command("go", "list", "-json=Dir,ImportPath,GoFiles,Imports", module+"/...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string]goPackage{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
	for _, name := range []string{"decode", "durable", "etcdops", "plan", "plan/apply", "cmd/etcdsweep", "cmd/etcdsweep-lab", "test/lab"} {
		if _, ok := all[name]; !ok {
			t.Fatalf("no package %s: the rules below would hold for nothing", name)
		}
	}
	return all
}

// within reports whether a package is one of the trees.
func within(name string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return name == tree || strings.HasPrefix(name, tree+"/") })
}

// The layers: cmd -> {plan, etcdops} -> decode. Two packages that know nothing of etcd or Kubernetes stand beside them.
func TestLayers(t *testing.T) {
	layers := []struct{ tree, may []string }{
		{[]string{"decode/manifest"}, []string{"decode"}}, // of which decode knows nothing: it brings all of Kubernetes' types
		{[]string{"decode"}, nil},
		{[]string{"durable"}, nil},
		{[]string{"apiserver"}, nil},
		{[]string{"etcdops"}, []string{"decode", "durable", "etcdops"}},
		{[]string{"plan"}, []string{"decode", "durable", "plan"}},
		{[]string{"cmd/etcdsweep"}, []string{"apiserver", "decode", "durable", "etcdops", "plan"}},
		{[]string{"cmd/etcdsweep-lab", "test"}, []string{"decode", "durable", "etcdops", "plan", "test"}},
	}
	for name, p := range packages(t) {
		i := slices.IndexFunc(layers, func(l struct{ tree, may []string }) bool { return within(name, l.tree...) })
		if i < 0 {
			t.Errorf("package %s is in no layer", name)
			continue
		}
		for _, path := range p.Imports {
			if local, ok := strings.CutPrefix(path, module+"/"); ok && !within(local, layers[i].may...) {
				t.Errorf("%s imports %s", name, local)
			}
		}
	}
}

// Who may import what from outside.
func TestForeignImports(t *testing.T) {
	rules := []struct {
		prefix string
		may    []string
	}{
		{"go.etcd.io/etcd/client/v3", []string{"etcdops", "cmd/etcdsweep-lab", "test"}},
		{"go.etcd.io/etcd/server/v3", []string{"cmd/etcdsweep-lab", "test"}},
		{"go.etcd.io/etcd/etcdutl/v3", []string{"cmd/etcdsweep-lab", "test"}},
		{"go.etcd.io/bbolt", []string{"etcdops/snapshot", "test"}},
		{"google.golang.org/grpc", []string{"etcdops", "test", "cmd"}}, // cmd silences its log
		{"github.com/spf13/cobra", []string{"cmd"}},
		{"golang.org/x/time/rate", []string{"plan/pace", "test"}},
		{"k8s.io/api/", []string{"test"}},
		{"k8s.io/client-go/", []string{"apiserver", "decode/manifest", "test"}}, // decode/manifest: the scheme of all built-in types
	}
	for name, p := range packages(t) {
		for _, path := range p.Imports {
			for _, rule := range rules {
				if (path == rule.prefix || strings.HasPrefix(path, rule.prefix)) && !within(name, rule.may...) {
					t.Errorf("%s imports %s", name, path)
				}
			}
			if within(name, "decode") && slices.Contains([]string{"os", "net", "net/http", "io/fs", "os/exec", "log", "log/slog"}, path) {
				t.Errorf("decode is a leaf without I/O, and imports %s", path)
			}
		}
	}
}

// What no code may do: hide state in package variables or init, end the process, or make a context that nobody can end.
func TestHabits(t *testing.T) {
	for name, p := range packages(t) {
		for _, file := range p.GoFiles {
			set := token.NewFileSet()
			tree, err := parser.ParseFile(set, filepath.Join(p.Dir, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			isMain := tree.Name.Name == "main" && file == "main.go"
			complain := func(node ast.Node, what string) { t.Errorf("%s: %s: %s", name, set.Position(node.Pos()), what) }
			for _, decl := range tree.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if d.Name.Name == "init" && d.Recv == nil {
						complain(d, "work in init")
					}
				case *ast.GenDecl:
					for _, spec := range d.Specs {
						if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR && !constant(v) && !embedded(file, p) {
							complain(v, "a package variable that is neither an error nor an assertion")
						}
					}
				}
			}
			ast.Inspect(tree, func(node ast.Node) bool {
				if call, ok := node.(*ast.CallExpr); ok && !isMain {
					switch selector(call.Fun) {
					case "os.Exit", "log.Fatal", "log.Fatalf":
						complain(call, "ends the process")
					case "context.Background", "context.TODO":
						complain(call, "a context without an owner")
					case "time.Sleep":
						complain(call, "sleeps; wait for what is meant, or for the context")
					}
				}
				return true
			})
		}
	}
}

// constant reports whether a package variable cannot be meant to change: a sentinel error, or an assertion about types.
func constant(v *ast.ValueSpec) bool {
	if v.Names[0].Name == "_" {
		return true
	}
	return len(v.Values) > 0 && !slices.ContainsFunc(v.Values, func(value ast.Expr) bool {
		call, ok := value.(*ast.CallExpr)
		return !ok || selector(call.Fun) != "errors.New"
	})
}

// embedded reports whether a file is there to embed data: go:embed needs a package variable.
func embedded(file string, p goPackage) bool {
	return strings.HasSuffix(p.ImportPath, "test/fixtures") && file == "fixtures.go"
}

func selector(fun ast.Expr) string {
	if s, ok := fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// main is under 20 lines.
func TestMainIsShort(t *testing.T) {
	for name, p := range packages(t) {
		if !within(name, "cmd") {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, filepath.Join(p.Dir, "main.go"), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if lines := set.File(tree.Pos()).LineCount(); lines > 20 {
			t.Errorf("%s/main.go has %d lines", name, lines)
		}
	}
}
