package clip

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// No character has more bytes than four: what is longer is no text, and its
// end is not looked for.
func TestS14_TextThatIsNoUTF8IsCutNearItsLimit(t *testing.T) {
	assert.Equal(t, "abcd… (10 bytes)", Text("abcd"+strings.Repeat("\x80", 6), 8))
}
