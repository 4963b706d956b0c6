// Package decode turns what Kubernetes stores in etcd into what etcdsweep decides on: [Decode] reads a value, [Resource]
// reads and makes keys, [LeaderIdentity] reads who leads. It does no I/O, keeps no state, and its functions may be called
// from many goroutines.
//
// # What it guarantees
//
//   - Decode projects: it reads the fields of [Object] and steps over the rest. Of every value that the decoders of
//     Kubernetes accept it makes the same as they do, field by field, in protobuf, JSON, YAML and CBOR. This includes values that
//     no Kubernetes writes: repeated messages, map entries out of order, invalid UTF-8.
//   - An Object shares no memory with the value. Its strings share memory with each other: one that outlives its object by
//     far is better cloned.
//   - It fails closed. A value that is encrypted, cut off, without a kind, or in an unknown form is an [*UnreadableError], never
//     an Object with blanks. [Resource.Check] holds the object against its key.
//   - No value makes it panic, loop, or allocate more than a fixed multiple of the value's length. In YAML, where an alias
//     stands for more, the library bounds that by a constant.
//
// # What it does not
//
//   - It does not validate. What it steps over may be damaged, so it accepts more than the typed decoders do. Never encode an
//     Object again: what must be put back is the value as it was stored.
//   - It does not decrypt. A [Record] that an [Opener] has opened is decoded from what its value holds.
//   - Beyond the metadata, which is field 1 of every stored kind, it knows fields of Pods, PersistentVolumeClaims,
//     PersistentVolumes, Events and CustomResourceDefinitions only.
//   - It does not default or convert: an object stays in the version in which it was stored, from Kubernetes 1.16 to 1.37.
package decode
