package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

const controllersUser = "system:kube-controller-manager"

// auditPolicy has every write in the apiserver's audit log, once it is done.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
`

// request is what somebody has asked the apiserver to write. One that leaves it to the apiserver to find a name has none.
type request struct{ verb, resource, namespace, name string }

// requests returns the writes that the apiserver has done, each with how often.
func (a *apiServer) requests(t testing.TB) map[request]int {
	t.Helper()
	file := got(os.Open(a.audit))(t)
	defer file.Close()
	requests := map[request]int{}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return requests // a line that is not whole yet is not done yet
		}
		var event struct {
			Verb           string
			ObjectRef      struct{ Resource, Namespace, Name string }
			ResponseStatus struct{ Code int }
		}
		must(t, json.Unmarshal(line, &event))
		ref := event.ObjectRef
		if ref.Resource == "namespaces" {
			ref.Namespace = "" // it is not in itself
		}
		if event.ResponseStatus.Code < 300 {
			requests[request{event.Verb, ref.Resource, ref.Namespace, ref.Name}]++
		}
	}
}
