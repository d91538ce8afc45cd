// Package faults proves that no artifact is lost and none is deployed twice.
//
// The functions' own libraries, with the real SDK, run against a simulated AWS
// (package cloud), which stands between any two of their calls and decides
// whether they live on:
//
//	schedule ── uploads with good and bad tokens, deployments by hand and by Auto
//	    │       Scaling, events late, twice and never, brownouts, throttling,
//	    │       faults, kills
//	    ▼
//	world ── one step at a time, chosen by the seed ──┐
//	    │ batches, events, the schedule               │ S3, CodeDeploy, SQS
//	    ▼                                             ▼
//	function (killed between any two calls) ──▶ cloud.AWS, on the same clock
//
// All of it lives in the bubble of a synctest, so that four days of waiting take
// no time. The programs that wire the libraries are built and run by the load on
// the emulator, and by their own tests.
//
// After each step and at the end the invariants hold (invariants_test.go): the
// newest accepted upload of a group is deployed, and nothing older after it; no
// version is deployed twice, what has no good token is refused and what has one is
// not, no message is gone without a trace, each upload has
// one final and true state whether or not somebody redrives dead letters, states
// never go backwards, and nothing is written or deployed that must not be.
//
// A failure names its seed, and shows a schedule made as small as time allowed
// with everything that happened in it. From the environment:
//
//	FAULTS_SEED       play this seed (alone, unless the number is given)
//	FAULTS_SCHEDULES  number of random schedules, 500 if not given
//	FAULTS_SHRINK     seconds to look for a smaller schedule, 20 if not given
//	FAULTS_LOAD       uploads of the load run, 1000 if not given
//	FAULTS_MODULE     another copy of this module, whose trigger meets the emulator
package faults
