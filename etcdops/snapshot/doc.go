// Package snapshot writes snapshots of etcd to files and reads them back. It doesn't talk to etcd.
//
// A snapshot is a bbolt file and, behind it, the 32 bytes of its SHA-256, as the server streams it and `etcdutl snapshot restore` takes it.
// Its bucket "key" maps a revision to a write: 8 bytes of main revision, '_', 8 bytes of sub revision, all big endian, and 't' after those of a
// deletion; the value is an mvccpb.KeyValue (etcd server/storage/mvcc, revision.go and kvstore.go). So the record that a key had at a
// known revision is found by seeking to that revision.
//
// A [View] reads a whole file as the cluster that it was: every key, at the newest revision or at an earlier one that was not compacted.
//
// What [Save] has written is whole, durable, and has the hash that the server gave it. What [Verify] passes has that hash too. Neither proves
// that the member's own data was right. A file that neither has seen must not be opened by [Open]: bbolt trusts its pages, and a damaged
// one can end the process. [OpenView] walks the pages itself first, and takes any file; a member's database file has no hash, so of
// that one it proves only that it can be read without harm.
package snapshot
