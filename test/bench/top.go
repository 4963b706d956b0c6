package main

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"etcdsweep/plan/census"
)

// top compares a count of the pods by their owners with a scan that drops what it reads: by pages, and by a stream where the
// server has RangeStream. It may take 1.2 times as long.
func (b *bench) top(ctx context.Context) (_ []line, err error) {
	s, err := b.start(ctx, b.pods)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	etcd, err := s.bare(ctx)
	if err != nil {
		return nil, err
	}
	defer etcd.Close()

	goal := goal{atLeast: 1 / 1.2}
	byPages, err := b.compare(ctx, "top by pages", counted(paged{client}), scanned(etcd, rangePages))
	if err != nil {
		return nil, err
	}
	lines := []line{byPages.line("top, by pages", "bare range loop", keysPerSecond, keysPerSecond, goal)}
	if _, err := rangeStream(ctx, etcd); status.Code(err) == codes.Unimplemented {
		return lines, nil
	}
	byStream, err := b.compare(ctx, "top by stream", counted(client), scanned(etcd, rangeStream))
	if err != nil {
		return nil, err
	}
	return append(lines, byStream.line("top, by stream", "bare range stream", keysPerSecond, keysPerSecond, goal)), nil
}

func counted(source census.Source) side {
	return func(ctx context.Context) (sample, error) {
		return repeat(func() (int64, error) {
			report, err := census.Take(ctx, source, census.Options{Prefix: prefix, Namespaces: []string{namespace}})
			if err != nil {
				return 0, err
			}
			return report.Total.Count, nil
		})
	}
}
