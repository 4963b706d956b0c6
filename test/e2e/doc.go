// Package e2e proves etcdsweep on real Kubernetes: a kube-apiserver and a kube-controller-manager, as they are released, on a
// real etcd of three members with TLS. It is a module of its own, so that the tool's go.mod stays free of Kubernetes.
//
// Every server is a process of its own, and all are the test binary: it becomes the program by whose name it is called
// (see main_test.go), and they die with the test. There is no kubelet. Nodes are objects; those that live get leases and
// statuses from the test, and on the others pods stay as whoever deleted them left them, which is what the tool is for.
//
// Nothing here waits for time to pass: it waits for what a watch tells, or asks again until something is so.
package e2e
