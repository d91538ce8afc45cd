package plain

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJSONIsExactAndPrintable(t *testing.T) {
	said := "a<b>&\x1b[2J\x7f\u009b\u202e\u2028\ufeff 失敗　ok \U000e0001\U0001f600"
	text, err := JSON([]string{said})
	require.NoError(t, err)
	var read []string
	require.NoError(t, json.Unmarshal(text, &read))
	assert.Equal(t, []string{said}, read)
	assert.Equal(t, "[\n  \"a<b>&\\u001b[2J\\u007f\\u009b\\u202e\\u2028\\ufeff 失敗　ok \\udb40\\udc01\U0001f600\"\n]\n", string(text))
	_, err = JSON(func() {})
	assert.Error(t, err)
}

func TestAWordIsForCopying(t *testing.T) {
	assert.Equal(t, "??31mred?line", Word("\x1b[31mred\nline"))
	assert.Equal(t, "a.b_c+d=e,f@g-h/i", Word("a.b_c+d=e,f@g-h/i"))
	long := Word("x" + string(make([]byte, 200)))
	assert.Equal(t, 128, len([]rune(long)))
	assert.Equal(t, '…', []rune(long)[127])
}
