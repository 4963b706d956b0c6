package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcdsweep/decode"
	"etcdsweep/etcdops/snapshot"
)

const (
	bulkModels = 100    // pods of each runaway Job that the others are copies of
	bulkTx     = 20_000 // records in one transaction of bbolt
)

// bulkImage returns the snapshot of a cluster with very many runaway pods. A server would need minutes to be filled with them: a
// small cluster is filled instead, and copies of its pods, with names, UIDs and revisions of their own, are written into its file.
func (b *bench) bulkImage(ctx context.Context, pods int) (path string, err error) {
	if path, ok := b.images[pods]; ok {
		return path, nil
	}
	small, err := b.image(ctx, jobs*bulkModels)
	if err != nil {
		return "", err
	}
	models, last, err := runawayPods(ctx, small)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "copy them to %d pods\n", pods)
	path = filepath.Join(b.dir, fmt.Sprintf("%d-pods.db", pods))
	if err := copyDatabase(small, path); err != nil {
		return "", err
	}
	if err := addPods(ctx, path, models, last, pods-len(models)); err != nil {
		return "", err
	}
	b.images[pods] = path
	return path, seal(path)
}

// runawayPods returns the pods of a snapshot that are to be copied, and its last revision.
func runawayPods(ctx context.Context, path string) (models []decode.Record, last int64, err error) {
	view, err := snapshot.OpenView(ctx, path, snapshot.ViewOptions{})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	for _, name := range jobNames() {
		for record, err := range view.Scan(ctx, podsPrefix+name+"-") {
			if err != nil {
				return nil, 0, err
			}
			if object, err := record.Decode(); err == nil && object.Controller() != nil && object.Controller().Name == name {
				models = append(models, record)
			}
		}
	}
	return models, view.Origin().Newest, nil
}

// copyDatabase copies a snapshot without its hash.
func copyDatabase(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // was only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.CopyN(out, in, info.Size()-sha256.Size)
	return err
}

// addPods writes copies of the models behind the last revision, one a revision.
func addPods(ctx context.Context, path string, models []decode.Record, last int64, pods int) (err error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for first := 0; first < pods; first += bulkTx {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := db.Update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte("key"))
			bucket.FillPercent = 0.95
			for i := first; i < min(first+bulkTx, pods); i++ {
				revision := last + 1 + int64(i)
				value, err := proto.Marshal(podCopy(&models[i%len(models)], i, revision))
				if err != nil {
					return err
				}
				key := append(binary.BigEndian.AppendUint64(nil, uint64(revision)), '_', 0, 0, 0, 0, 0, 0, 0, 0)
				if err := bucket.Put(key, value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return db.Sync()
}

// podCopy makes another pod of a model. Its name and UID are as long as the model's, so that they can be put in its place; no pod
// of a model begins with a zero.
func podCopy(model *decode.Record, i int, revision int64) *mvccpb.KeyValue {
	const suffix = 5
	name := []byte(filepath.Base(model.Key))
	other := bytes.Clone(name)
	number := strconv.FormatInt(int64(i), 36)
	copy(other[len(other)-suffix:], "00000")
	copy(other[len(other)-len(number):], number)
	value := bytes.ReplaceAll(model.Value, name, other)
	if object, err := model.Decode(); err == nil {
		uid := fmt.Sprintf("%08x%s", i, object.UID[8:])
		value = bytes.Replace(value, []byte(object.UID), []byte(uid), 1)
	}
	return &mvccpb.KeyValue{
		Key:            []byte(podsPrefix + string(other)),
		CreateRevision: revision,
		ModRevision:    revision,
		Version:        1,
		Value:          value,
	}
}

// seal writes the hash behind a database that makes it a snapshot.
func seal(path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	_, err = file.Write(sum.Sum(nil))
	return err
}
