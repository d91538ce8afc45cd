// Package access asks an independent IAM simulator who may do what: the
// requests of cases.yaml, decided over the policies of both accounts'
// templates.
//
//	cases.yaml ──▶ World.Simulation ──▶ simulate.mjs ──▶ allowed, refused, denied
//	templates  ──┘  (role, resource, endpoint policies;   (a program of its own)
//	                 block public access; the request)
//
// The simulator is @cloud-copilot/iam-simulate. It is under the AGPL, and so it
// is a tool of the tests alone, run as a program of its own: see ADR 0015.
package access
