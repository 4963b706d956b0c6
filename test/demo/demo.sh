#!/bin/sh
# The main job on a practice cluster: 30,000 pods of two runaway Jobs, whose controller goes on making more.
# Each command is printed as one would type it. Usage: demo.sh [directory of the binaries]
set -eu

bin=$(cd "${1:-bin}" && pwd)
pods=${PODS:-30000}
dir=$(mktemp -d)
PATH=$bin:$PATH
cd "$dir"

etcdsweep-lab up --dir lab --jobs 2 --pods "$pods" --produce 20 --no-fsync > lab.log 2>&1 &
lab=$!
finish() {
    status=$?
    kill "$lab" 2> /dev/null || true
    wait "$lab" 2> /dev/null || true
    [ $status -eq 0 ] || { echo "--- the lab's log:"; cat "$dir/lab.log"; }
    rm -rf "$dir"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
type_and_run() {
    printf '\n$ %s\n' "$*"
    sh -c "$*"
}

say "A practice cluster fills with $pods pods of two runaway Jobs..."
while [ ! -e lab/env.sh ]; do
    kill -0 "$lab" # ends the demo if the lab has ended
    sleep 0.2
done
. lab/env.sh
cat lab/env.sh

say "What exactly would go?"
type_and_run etcdsweep plan -n batch --job runaway --job runaway-b -o runaway.plan

say "Let me look at it."
type_and_run "etcdsweep show runaway.plan --keys | head -n 4"
id=$(etcdsweep show runaway.plan -o json | sed -n 's/^  "id": "\(.\{8\}\).*/\1/p')

say "Snapshot, prove, sweep, verify. (Unpaced, and nobody watches kube-controller-manager for long: this is only a demo.)"
type_and_run etcdsweep apply runaway.plan --confirm "$id" --rate 0 --lease-duration 2s --state-dir state

say "Has anything else changed by a byte?"
type_and_run etcdsweep-lab check --dir lab

say "Put it all back, owners first."
type_and_run etcdsweep runs --state-dir state
type_and_run etcdsweep undo state/runs/"$id"* --confirm "$id" --rate 0 --lease-duration 2s

say "Has anything else changed by a byte?"
type_and_run etcdsweep-lab check --dir lab
