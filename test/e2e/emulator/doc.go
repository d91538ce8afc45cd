// Package emulator is the two-account AWS on this machine, and the walk of one
// push through it:
//
//	sample repository ── gitlab-ci-local ──▶ moto: S3 ─▶ SQS
//	                                                      │ lambdahost
//	     answer ◀── CodeDeploy (moto) ◀── bootstrap ◀─────┘
//
// What is real: both stacks and the CDK CLI that deploys them, the job template
// and its script, the functions' code and Lambda's runtime API. What is not: AWS
// itself is moto, which enforces no policy and runs nothing; the gaps that
// matter here are listed in gaps.go.
//
// [Demo] does it once and leaves nothing behind; [Up] and [Down] keep it running.
package emulator
