package half

import "testing"

func TestPositive(t *testing.T) {
	if !Positive(1) || Positive(0) {
		t.Error("1 is positive and 0 is not")
	}
}

func TestDown(t *testing.T) {
	if got := Down(0); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
}

func TestUntested(*testing.T) { Untested(true, false) }

func TestShort(t *testing.T) {
	if !testing.Short() {
		t.Error("want only tests that are short")
	}
}
