package etcdops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is one member of the cluster, as it sees itself.
type Member struct {
	ID         uint64
	Name       string   // empty if it has never started
	ClientURLs []string // as it advertises them, which need not work from here
	Learner    bool

	Endpoint string // where it answered: an endpoint of the configuration, else one of ClientURLs; empty if it didn't
	Err      error  // why it didn't; the fields below are zero then

	Leader           bool
	Version          string // "3.5.21"
	Revision         int64
	DBSize           int64 // bytes of its database file, what the quota is counted against
	DBSizeInUse      int64 // bytes of it that are not free pages; defragmentation leaves about these
	Quota            int64 // bytes; 0 if it doesn't say (before etcd 3.6)
	RaftTerm         uint64
	RaftIndex        uint64 // last entry committed
	RaftAppliedIndex uint64 // last entry applied
}

// String names a member as people do.
func (m *Member) String() string {
	if m.Name != "" {
		return m.Name
	}
	return fmt.Sprintf("%x", m.ID)
}

// AlarmType is what an alarm is about.
type AlarmType string

// The alarms of etcd.
const (
	AlarmNoSpace AlarmType = "NOSPACE" // the quota is used up: writes other than deletes are refused
	AlarmCorrupt AlarmType = "CORRUPT" // members hold different data
)

// Alarm is one that a member has raised. It stands until it is disarmed.
type Alarm struct {
	Member uint64 // ID
	Type   AlarmType
}

// Status is a cluster at one moment.
type Status struct {
	ClusterID uint64   // no identity: two clusters first started with the same URLs have the same one
	Members   []Member // by name, then ID
	Alarms    []Alarm

	// AlarmsErr is why the alarms could not be read. They need a quorum.
	AlarmsErr error
}

// Leader returns the leader, or nil if no member that answered is one.
func (s *Status) Leader() *Member {
	for i := range s.Members {
		if s.Members[i].Leader {
			return &s.Members[i]
		}
	}
	return nil
}

// Voters returns how many members vote, and how many of them answered.
func (s *Status) Voters() (all, answering int) {
	for _, m := range s.Members {
		if m.Learner {
			continue
		}
		all++
		if m.Err == nil {
			answering++
		}
	}
	return all, answering
}

// Quorum reports whether enough voters answered to decide anything. That they see each other is proved by a linearizable read only.
func (s *Status) Quorum() bool {
	all, answering := s.Voters()
	return answering > all/2
}

// Status asks for the members, for the status of each by itself, and for the alarms. Each request has CommandTimeout. A member that
// doesn't answer carries its own error; Status fails only if the list of members can't be had. Without a quorum
// that list is one member's own view of it, or, with a *NotEtcdError, if what answers is no etcd.
func (c *Client) Status(ctx context.Context) (Status, error) {
	list, err := c.memberList(ctx)
	if imposter := imposterInList(list, err); imposter != nil {
		return Status{}, imposter
	}
	if err != nil {
		return Status{}, fmt.Errorf("member list: %w", err)
	}
	s := Status{ClusterID: list.Header.ClusterId, Members: c.roster.list(list.Members, time.Now())}

	// Which member answers at an endpoint only its answer tells. Advertised addresses come second: they may be
	// unreachable from here, or somebody else's 127.0.0.1.
	answers := c.statuses(ctx, c.cfg.Endpoints, c.cfg.CommandTimeout)
	if imposter := imposterInAnswers(answers); imposter != nil {
		return Status{}, imposter
	}
	var advertised []string
	for i := range s.Members {
		if m := &s.Members[i]; !m.answered(answers) {
			advertised = append(advertised, m.ClientURLs...)
		}
	}
	answers = append(answers, c.statuses(ctx, advertised, c.cfg.CommandTimeout)...)
	c.roster.meet(answers)
	for i := range s.Members {
		s.Members[i].fill(answers, "")
	}

	if err := ctx.Err(); err != nil {
		return Status{}, err
	}
	alarms, err := once(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.AlarmResponse, error) {
		return etcd.AlarmList(ctx)
	})
	if err != nil {
		s.AlarmsErr = fmt.Errorf("alarm list: %w", err)
		return s, nil
	}
	for _, a := range alarms.Alarms {
		s.Alarms = append(s.Alarms, Alarm{Member: a.MemberID, Type: AlarmType(a.Alarm.String())})
	}
	return s, nil
}

// memberList reads the list with a quorum, or without one if there is none. Servers before 3.5 don't know the difference and use their own view.
func (c *Client) memberList(ctx context.Context) (*clientv3.MemberListResponse, error) {
	list := func(opts ...clientv3.OpOption) (*clientv3.MemberListResponse, error) {
		return repeated(ctx, c, func(ctx context.Context, etcd *clientv3.Client) (*clientv3.MemberListResponse, error) {
			return etcd.MemberList(ctx, opts...)
		})
	}
	members, err := list()
	if err == nil || ctx.Err() != nil || !endpointFault(err) {
		return members, err
	}
	return list(clientv3.WithSerializable())
}

// answer is what an endpoint said when it was asked for its status.
type answer struct {
	endpoint string
	status   *etcdserverpb.StatusResponse
	took     time.Duration
	err      error
}

// statuses asks every endpoint at once, and waits for each no longer than the timeout: to connect and to log in, if it is asked
// for the first time, is part of that.
func (c *Client) statuses(ctx context.Context, endpoints []string, timeout time.Duration) []answer {
	answers := make([]answer, len(endpoints))
	var wg sync.WaitGroup
	for i, endpoint := range endpoints {
		wg.Go(func() {
			a := answer{endpoint: endpoint}
			a.status, a.err = within(ctx, timeout, func(ctx context.Context) (*etcdserverpb.StatusResponse, error) {
				l, err := c.link(ctx, endpoint)
				if err != nil {
					return nil, err
				}
				start := time.Now()
				defer func() { a.took = time.Since(start) }()
				return l.status(ctx)
			})
			answers[i] = a
		})
	}
	wg.Wait()
	return answers
}

// answered reports whether one of the answers is this member's.
func (m *Member) answered(answers []answer) bool {
	return slices.ContainsFunc(answers, m.gave)
}

// gave reports whether an answer is this member's.
func (m *Member) gave(a answer) bool { return a.err == nil && a.status.Header.MemberId == m.ID }

// fill completes a member from its answer, which it returns. Without one it says, and returns nil, what was wrong at the addresses that
// the member advertises, and where it was met before.
func (m *Member) fill(answers []answer, met string) *answer {
	i := slices.IndexFunc(answers, m.gave)
	if i < 0 {
		m.Err = m.silence(answers, met)
		return nil
	}
	status := answers[i].status
	m.Endpoint = answers[i].endpoint
	m.Leader = status.Leader == m.ID
	m.Version = status.Version
	m.Revision = status.Header.Revision
	m.DBSize = status.DbSize
	m.DBSizeInUse = status.DbSizeInUse
	m.Quota = status.DbSizeQuota
	m.RaftTerm = status.RaftTerm
	m.RaftIndex = status.RaftIndex
	m.RaftAppliedIndex = status.RaftAppliedIndex
	return &answers[i]
}

// silence returns why a member didn't answer.
func (m *Member) silence(answers []answer, met string) error {
	if len(m.ClientURLs) == 0 {
		return errors.New("advertises no client URL: it has not started yet")
	}
	var errs []error
	for _, a := range answers {
		switch {
		case a.endpoint != met && !slices.Contains(m.ClientURLs, a.endpoint):
		case a.err != nil:
			errs = append(errs, a.err)
		default:
			errs = append(errs, fmt.Errorf("%s: another member answers there, %x", a.endpoint, a.status.Header.MemberId))
		}
	}
	return errors.Join(errs...)
}
