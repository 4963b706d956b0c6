// Package manifest turns what Kubernetes stores into what people read: the whole object as a tree, to be printed as YAML or
// JSON. [Read] reads a value, [Manifest.Mask] hides what is secret in it.
//
// # What it guarantees
//
//   - An object of a built-in type is what the types of Kubernetes' own client make of it. It stays in the version in which it was
//     stored; nothing is defaulted or converted.
//   - JSON, YAML and CBOR are shown with all that is in them, known to a type or not.
//   - A value of protobuf whose type is not built in, or no longer, is shown by its metadata, and says so: the rest of it
//     cannot be told from bytes without its type.
//   - After Mask nothing is left of a Secret's values, in whatever form it was stored: not in data, not in stringData, not in
//     the copies that tools keep in annotations, nor in a field that is not known.
//   - No value makes it panic.
//
// # What it does not
//
//   - It does not decrypt, and it does not judge: what decisions rest on is read by package decode, which is stricter.
//   - It hides nothing but Secrets. A password in a Pod's environment is shown, as kubectl shows it.
//   - It does not write: what it prints is for people, and is never put back into etcd.
package manifest
