// Package encryption opens what kube-apiserver encrypts before it stores it. [Load] reads the EncryptionConfiguration that
// kube-apiserver is started with (--encryption-provider-config), and [Keys] then opens values: aescbc, aesgcm, secretbox, and
// KMS v1 and v2, these by asking the plugin at its socket, as kube-apiserver does.
//
// # What it guarantees
//
//   - A value is opened with the keys that kube-apiserver would try, in its order: those of the first rule among the resource's
//     own, its group's (*.group) and the one for all (*.*) that there is.
//   - The authenticated data is the whole etcd key, so what was moved there from another key does not open under aesgcm and KMS.
//     aescbc and secretbox do not bind a value to its key: such a value opens, and does not pass [decode.Resource.Check].
//   - Whatever is wrong (no such key, another key under its name, damage, a plugin that is absent, hangs, dies or refuses) makes the
//     record sealed, with a class to count by. It is no error, and nothing panics.
//   - A plugin that does not answer is left alone for a while: a scan of many values waits for it now and then, not at each.
//   - Memory does not grow with the number of values.
//
// # What it does not
//
//   - It does not encrypt, and does not watch its configuration for changes: it is read once.
//   - Plain values are read even where the configuration has no identity provider; kube-apiserver would refuse those.
//   - It does not use k8s.io/apiserver's package encryptionconfig, which polls each plugin in goroutines that nobody can wait for,
//     has KMS v1 behind a feature gate of the whole process, and links in CEL to validate other files. The ciphers and the types
//     are kube-apiserver's own.
package encryption
