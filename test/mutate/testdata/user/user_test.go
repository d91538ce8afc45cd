package user

import "testing"

func TestAnswer(t *testing.T) {
	if got := Answer(); got != "yes" {
		t.Errorf("got %q, want yes", got)
	}
}
