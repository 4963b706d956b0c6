// Package census counts who fills etcd: the objects of a resource, or of all, by owner, namespace, node, phase, reason, resource or
// label. It only reads.
//
// # What it guarantees
//
//   - Every object is counted once, in exactly one group; those that cannot be read are counted by what is wrong with them.
//   - Objects pass once. Memory depends on the number of groups, which is bounded: when there are too many, the smallest are
//     counted together. A group that was, and that comes again, counts from there on only; so the counts of what is large are
//     those of what is there.
//   - Owners are followed up to the highest one whose record stands: from a Pod by its Job to a CronJob, by its ReplicaSet to a
//     Deployment, and through custom resources wherever a CustomResourceDefinition says where they are stored. Only controller references
//     count.
//   - What it says depends on what is stored, never on a clock: the last hour is the one before the newest object.
//
// # What it does not
//
//   - It does not know which objects are too many. [Report.Culprits] names those that are many, and of which most are of no use
//     to anybody; whether they may go is for a plan, and for people.
//   - It does not tell live nodes from dead ones.
package census
