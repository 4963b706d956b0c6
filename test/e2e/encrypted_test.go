package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Two EncryptionConfigurations over pods and Jobs: the second writes with another cipher and key, and reads what the first wrote.
const (
	encryptedBefore = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [pods, jobs.batch]
  providers:
  - aescbc: {keys: [{name: old, secret: b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w=}]}
`
	encryptedAfter = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [pods, jobs.batch]
  providers:
  - secretbox: {keys: [{name: new, secret: bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=}]}
  - aescbc: {keys: [{name: old, secret: b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w=}]}
`
)

// TestEncrypted sweeps a Job whose pods an apiserver has encrypted, the keys rotated half-way, and takes it back.
func TestEncrypted(t *testing.T) {
	config := t.TempDir() + "/encryption.yaml"
	must(t, os.WriteFile(config, []byte(encryptedBefore), 0o600))
	flag := "--encryption-provider-config=" + config
	c := startControl(t, flag)
	c.startControllers(fast)
	c.fill(100)

	c.stopControllers()
	must(t, os.WriteFile(config, []byte(encryptedAfter), 0o600))
	c.restart(c.api(), c.etcd.Endpoints(), flag)
	c.startControllers(fast)
	_, err := c.api().client.BatchV1().Jobs(batch).Patch(t.Context(), "runaway", types.MergePatchType,
		[]byte(`{"spec":{"parallelism":200}}`), metav1.PatchOptions{})
	must(t, err)
	c.awaitPods(batch, "runaway", 200)
	c.stopControllers()

	runaway := regexp.MustCompile(`(?m)^Job batch/runaway\n +200 `)
	w, etcd := c.tool(), c.etcdClient()
	encryption := []string{"--encryption-config", config}
	if top := w.run(append([]string{"top"}, encryption...)...).out; !runaway.MatchString(top) || strings.Contains(top, "encrypted") {
		t.Errorf("top says\n%s", top)
	}
	p := w.plan("runaway", append([]string{"-n", batch, "--job", "runaway"}, encryption...)...)
	before := values(t, etcd, p.keys)
	old, rotated := 0, 0
	for _, value := range before {
		switch {
		case strings.HasPrefix(value, "k8s:enc:aescbc:v1:old:"):
			old++
		case strings.HasPrefix(value, "k8s:enc:secretbox:v1:new:"):
			rotated++
		}
	}
	if len(before) != 201 || old != 100 || rotated != 101 { // the Job was written again
		t.Fatalf("%d keys planned, %d under the old key, %d under the new one", len(before), old, rotated)
	}
	out := w.apply(p, encryption...).out
	if left := values(t, etcd, p.keys); len(left) > 0 {
		t.Fatalf("%d keys are left\n%s", len(left), out)
	}
	w.run("verify", p.runDir, "--kubeconfig", c.api().kubeconfig)
	w.undo(p, encryption...)
	if keys := unlike(before, values(t, etcd, p.keys)); len(keys) > 0 {
		t.Fatalf("%d keys are not as they were, such as %s", len(keys), keys[0])
	}
	w.run("verify", p.runDir, "--kubeconfig", c.api().kubeconfig)

	if without := w.try("plan", "-n", batch, "--job", "runaway", "-o", p.path+"2"); without.status != 3 {
		t.Errorf("without the keys: exit status %d\n%s%s", without.status, without.out, without.errout)
	}
	list := got(c.api().client.CoreV1().Pods(batch).List(t.Context(), metav1.ListOptions{LabelSelector: "app=runaway"}))(t)
	if len(list.Items) != 200 {
		t.Errorf("the apiserver reads %d of 200 pods", len(list.Items))
	}
	if strings.Contains(before[podsPrefix+batch+"/"+list.Items[0].Name], "registry.example.com") {
		t.Error("a pod is not encrypted at all")
	}
}
