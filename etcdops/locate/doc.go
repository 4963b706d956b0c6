// Package locate finds the way in to etcd on a control-plane node: it reads the files by which the node runs its cluster.
//
// [Find] looks below a root directory, which is "/" on the node itself and the mount point of its disk in a rescue system.
// The first of these that names an etcd decides:
//
//  1. a static pod of kube-apiserver: where the kubelet reads static pods, as kubeadm and KubeKey have it, then RKE2's
//  2. the systemd unit kube-apiserver.service
//  3. RKE2's, then k3s's own files: an etcd of theirs, or an external one
//  4. kubeadm's healthcheck-client certificate, with the static pod of etcd
//  5. /etc/etcd.env, by which KubeKey and Kubespray run etcd
//  6. the systemd unit etcd.service
//
// # Guarantees
//
//   - A way in is taken whole, from one source: endpoints of one cluster never meet the certificate of another.
//   - A source that names an etcd and can't be followed is an [*UnusableError]. Nothing behind it is tried: that might be
//     another cluster's.
//   - Links are followed below the root only, so that a rescued disk never leads to the files of the system that rescues it.
//   - What else was found, and is not used, is said.
//
// It only reads files, and small ones. Whether anything answers at the endpoints, and whether the certificates are good, it
// doesn't know.
package locate
