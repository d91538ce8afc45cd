// Package faults proves that no artifact is lost and none is deployed twice.
//
// The real programs of both functions run against a simulated AWS (package
// cloud), which stands between any two of their calls and decides whether they
// live on:
//
//	schedule ── uploads, events late and twice, faults, kills
//	    │
//	    ▼
//	world ── one step at a time, chosen by the seed ──┐
//	    │ runtime API                                 │ S3, CodeDeploy, SQS
//	    ▼                                             ▼
//	process (SIGKILL between any two calls) ──▶ cloud.AWS, with a clock of its own
//
// After each step and at the end the invariants hold (invariants_test.go): the
// last deployment of a group is its newest upload, no version is deployed
// twice, no message is gone without a trace, each upload has one final and true
// state, states never go backwards, and nothing is written or deployed that
// must not be.
//
// A failure names its seed, and shows a schedule made as small as time allowed
// with everything that happened in it. From the environment:
//
//	FAULTS_SEED       play this seed (alone, unless the number is given)
//	FAULTS_SCHEDULES  number of random schedules, 500 if not given
//	FAULTS_SHRINK     seconds to look for a smaller schedule, 20 if not given
//	FAULTS_LOAD       uploads of the load run, 1000 if not given
//	FAULTS_MODULE     another copy of this module, whose functions are played:
//	                  one with a mistake in it has to be found out
//
// Simulated time passes between the calls of a process, never during its own
// pauses, which are real and the reason why many worlds run side by side.
package faults
