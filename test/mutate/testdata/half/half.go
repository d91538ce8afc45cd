// Package half has conditions that its tests notice, and others.
package half

// Positive is tested.
func Positive(n int) bool {
	if n > 0 {
		return true
	}
	return false
}

// Down is tested; flipped, it does not end.
func Down(n int) int {
	for n > 0 {
		n--
	}
	return n
}

// Elsewhere is tested by package user.
func Elsewhere(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// Untested is called by a test that asserts nothing.
func Untested(a, b bool) int {
	if a && b {
		return 1
	}
	return 0
}

// Names cannot have the same key twice.
var Names = map[bool]string{
	1 == 1: "right",
	1 == 2: "wrong",
}
