package table

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTableIsReadByPeople(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Table{
		Head:  []string{"NAME", "FILES", "REASON"},
		Rows:  [][]string{{"web", "7", "ok"}, {"倉庫", "1234", "\x1b]0;title\x07\x1b[31m失敗\u009b2J しました\r\nnow"}, {"long-long", "1", strings.Repeat("あ", 40)}},
		Right: []int{1}, Width: 24,
	}.Print(&out))
	assert.Equal(t, ""+
		"NAME       FILES  REASON\n"+
		"web            7  ok\n"+
		"倉庫        1234  失敗 しました now\n"+
		"long-long      1  "+strings.Repeat("あ", 11)+"…\n", out.String())
}

func TestTableWithoutRowsIsNothing(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Table{Head: []string{"NAME"}}.Print(&out))
	assert.Empty(t, out.String())
}
