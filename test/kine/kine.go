// Package kine has a server that speaks as much of etcd's API as kine does, and is no etcd. It keeps nothing. It stands for
// what is not etcd: tests of how that is recognised have no other use.
package kine

import (
	"context"
	"errors"
	"net"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// Server is a running one.
type Server struct {
	Address string // http://127.0.0.1:port

	server *grpc.Server
	done   chan error
}

// Start starts one, in plain text. A strict one has no list of members, as kine before 0.10 has none; the others make one up.
func Start(strict bool) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Address: "http://" + listener.Addr().String(), server: grpc.NewServer(), done: make(chan error, 1)}
	etcdserverpb.RegisterKVServer(s.server, keys{})
	etcdserverpb.RegisterMaintenanceServer(s.server, maintenance{})
	if !strict {
		etcdserverpb.RegisterClusterServer(s.server, members{address: s.Address})
	}
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// Close ends it.
func (s *Server) Close() error {
	s.server.Stop()
	return <-s.done
}

var errUnsupported = errors.New("not supported")

type keys struct {
	etcdserverpb.UnimplementedKVServer
}

func (keys) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: 1234}}, nil
}

type maintenance struct {
	etcdserverpb.UnimplementedMaintenanceServer
}

func (maintenance) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	return &etcdserverpb.StatusResponse{Header: &etcdserverpb.ResponseHeader{}, DbSize: 4096, Version: "3.5.13"}, nil
}

func (maintenance) Alarm(context.Context, *etcdserverpb.AlarmRequest) (*etcdserverpb.AlarmResponse, error) {
	return nil, errUnsupported
}

type members struct {
	etcdserverpb.UnimplementedClusterServer
	address string
}

func (m members) MemberList(context.Context, *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	return &etcdserverpb.MemberListResponse{
		Header:  &etcdserverpb.ResponseHeader{},
		Members: []*etcdserverpb.Member{{Name: "kine", ClientURLs: []string{m.address}, PeerURLs: []string{m.address}}},
	}, nil
}
