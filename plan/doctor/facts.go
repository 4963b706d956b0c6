package doctor

import "time"

// Facts is what was seen of a cluster.
type Facts struct {
	Now time.Time

	Endpoints    []Endpoint
	PlainText    bool
	Unverified   bool          // any server certificate was believed
	Certificates []Certificate // of servers, of the client, of the CA
	Connection   error         // why there is none, when that is no endpoint's fault; what follows is unknown then

	NotEtcd    string // what speaks etcd's API here and is none, in words; "" if it is etcd
	Members    []Member
	MembersErr error // why nobody knows who the members are
	Alarms     []Alarm
	Quorum     error     // why a linearizable read was not answered; nil if it was
	Latency    []float64 // of linearizable reads, milliseconds

	Access Access

	Prefix       string
	Keys         int64 // under the prefix
	KeysErr      error
	System       bool // Namespace kube-system is there, by which a cluster is known
	SystemErr    error
	Controllers  Writer
	APIServers   []Writer
	ServersErr   error
	Encodings    []Encoding
	EncodingsErr error

	Room Room
}

// Endpoint is one that was given or found.
type Endpoint struct {
	Address string
	Err     error  // why it can't be used
	Hint    string // what to mend
}

// Certificate is one that is part of the connection.
type Certificate struct {
	Of        string // "client", "CA", or the endpoint that showed it
	Names     []string
	NotBefore time.Time
	NotAfter  time.Time
	Err       error // why it could not be looked at
}

// Member is a member of the etcd cluster.
type Member struct {
	Name    string
	Version string
	Leader  bool
	Learner bool
	Err     error // why it did not answer

	DBSize   int64
	InUse    int64
	Quota    int64 // bytes; 0 if it does not say
	Revision int64
	Applied  uint64 // index of the last raft entry that it has applied
	Latency  time.Duration
}

// Alarm is one that a member has raised.
type Alarm struct {
	Member string
	Kind   string
}

// Access is who we are to etcd's authentication, and what that may do.
type Access struct {
	Enabled bool
	User    string
	Roles   []string
	Read    bool // all keys under the prefix
	Write   bool
	Root    bool  // the role root, which snapshots need
	Err     error // why that is not known
}

// Writer is something that writes to etcd while it is alive.
type Writer struct {
	Name  string
	Found bool
	Alive bool   // it was seen to write
	Words string // what was seen
	Err   error
}

// Encoding is how a part of the values that were sampled is stored.
type Encoding struct {
	Name     string // "protobuf", "encrypted (aescbc, key k1)"
	Count    int64
	Readable bool
	Hint     string // what would make it readable, "" if nothing is known to
	Example  string // a key
}

// Room is where a run would put its snapshot.
type Room struct {
	Dir  string
	Free int64
	Need int64
	Err  error
}
