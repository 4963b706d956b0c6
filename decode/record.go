package decode

// Record is one key of etcd, with the value and the revisions that it had when it was read.
type Record struct {
	Key   string
	Value []byte // as stored; nil in a keys-only read

	CreateRevision int64 // revision at which the key was made; the same key made again has another
	ModRevision    int64 // revision of the last write
	Version        int64 // writes since it was made; 1 right after creation
	Lease          int64 // lease ID, 0 without a lease
}

// Born reports whether the record is as its creator wrote it: nobody has modified it since.
func (r *Record) Born() bool { return r.CreateRevision == r.ModRevision }
