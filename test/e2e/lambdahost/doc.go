// Package lambdahost runs Lambda functions on this machine the way Lambda runs
// them, for an emulator that cannot:
//
//	queue ──ReceiveMessage──▶ mapping ──▶ instance ──HTTP──▶ bootstrap
//	  ▲                          │          (runtime API,
//	  └── deletes what succeeded ┘           timeout, restart)
//
// A function is an executable named bootstrap that asks the runtime API for its
// next invocation (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
// An Instance owns one such process; a Mapping is an SQS event source mapping.
// One batch is under way per mapping: what Lambda does in parallel happens here
// one after the other. Memory limits are not enforced.
package lambdahost
