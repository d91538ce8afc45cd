// Package jobrole gives the containers of CI jobs the credentials of a role of their own,
// as ECS gives tasks theirs: a service on the runner's host answers at the address where
// every AWS SDK looks for the credentials of a container.
//
//	job ── GET http://169.254.170.2/job-role ──▶ host job-credentials ── AssumeRole ──▶ STS
//	                                                 └─ by the host's own role, which containers cannot reach
//
// All jobs of a host hold the same role, so the service tells them apart by nothing and asks
// for no token. It answers the host and its bridges, and nobody else.
package jobrole
