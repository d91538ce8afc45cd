// Package mutate asks whether the tests would notice a condition that says the
// opposite. One condition after the other is flipped, and the tests run that
// depend on it:
//
//	sources ──▶ Find ──▶ Sample ──▶ go test -c -overlay ──▶ tests ──▶ noticed
//	                                (no file is touched)         └──▶ survived ── listed in accepted.yaml?
//
// A condition is the whole of an if, a for or a case without && and ||, or an
// operand of those; a comparison anywhere; and each && and || itself. The whole
// of "a && b" is not flipped: that is noticed by whatever notices its parts.
//
// Tests notice a mutant by failing or by not ending. One that the compiler
// refuses does not count.
package mutate
