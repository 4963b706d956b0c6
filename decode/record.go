package decode

import "context"

// Record is one key of etcd, with the value and the revisions that it had when it was read.
type Record struct {
	Key   string
	Value []byte // as stored, encrypted or not: what is archived, proved and put back; nil in a keys-only read

	// Plain is what an encrypted value holds, and Sealed says why it could not be opened. Both are nil if the value is not
	// encrypted, or if no [Opener] has seen the record.
	Plain  []byte
	Sealed *UnreadableError

	CreateRevision int64 // revision at which the key was made; the same key made again has another
	ModRevision    int64 // revision of the last write
	Version        int64 // writes since it was made; 1 right after creation
	Lease          int64 // lease ID, 0 without a lease
}

// Born reports whether the record is as its creator wrote it: nobody has modified it since.
func (r *Record) Born() bool { return r.CreateRevision == r.ModRevision }

// Decode reads the object that the record holds, as [Decode] does, from the decrypted value if the stored one is encrypted.
func (r *Record) Decode() (Object, error) {
	plain, err := r.Readable()
	if err != nil {
		return Object{}, err
	}
	return Decode(plain)
}

// LeaderIdentity reads who holds a leader election, as [LeaderIdentity] does, from the decrypted value if the stored one is
// encrypted.
func (r *Record) LeaderIdentity() (holder string, err error) {
	plain, err := r.Readable()
	if err != nil {
		return "", err
	}
	return LeaderIdentity(plain)
}

// Readable returns the value to decode: the decrypted one where there is one. The error is of type [*UnreadableError].
func (r *Record) Readable() ([]byte, error) {
	switch {
	case r.Sealed != nil:
		return nil, r.Sealed
	case r.Plain != nil:
		return r.Plain, nil
	default:
		return r.Value, nil
	}
}

// Opener opens encrypted values.
type Opener interface {
	// Open sets either Plain or Sealed of a record whose value is encrypted, and leaves other records as they are. It may ask
	// a KMS plugin. The error is that of ctx.
	Open(ctx context.Context, r *Record) error
}
