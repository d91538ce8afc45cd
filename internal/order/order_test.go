package order

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnOrderIsReadStrictly(t *testing.T) {
	good := Order{Kind: Rollback, Application: "web", DeploymentGroup: "blue", Key: "artifacts/web/a b.gz", VersionID: "v1"}
	text, err := json.Marshal(good)
	require.NoError(t, err)
	read, err := Parse(text)
	require.NoError(t, err)
	assert.Equal(t, good, read)
	for text, want := range map[string]string{
		``:                                    "it is no order: EOF",
		`[]`:                                  "it is no order: ",
		`{"kind":"pause","x":1}`:              `unknown field "x"`,
		`{"kind":"stop"}`:                     `kind is "stop", want rollback, promote, pause or resume`,
		`{"kind":"pause"}`:                    "application is missing, which pause needs",
		`{"kind":"pause"} {}`:                 "want one JSON object, and nothing after it",
		`{"kind":"resume","application":"a"}`: "deploymentGroup is missing, which resume needs",
		`{"kind":"pause","application":"a","deploymentGroup":"b","key":"k"}`:                               `key is "k", and pause has none`,
		`{"kind":"rollback","application":"a","deploymentGroup":"b","key":"k"}`:                            "versionId is missing, which rollback needs",
		`{"kind":"rollback","application":"a","deploymentGroup":"b","key":"k","versionId":"v","from":"c"}`: `from is "c", and rollback has none`,
		`{"kind":"promote","application":"a","deploymentGroup":"b","key":"k","versionId":"v"}`:             "from is missing, which promote needs",
		`{"kind":"promote","application":"a","deploymentGroup":"b","key":"k","versionId":"v","from":"b"}`:  `from and deploymentGroup are both "b", want two groups`,
		`{"kind":"pause","application":"` + strings.Repeat("a", 101) + `","deploymentGroup":"b"}`:          "application has 101 bytes, want UTF-8 of at most 100",
		`{"kind":"pause"` + strings.Repeat(" ", MaxSize) + `}`:                                             "it has more than 16384 bytes",
	} {
		_, err := Parse([]byte(text))
		assert.ErrorContains(t, err, want, "%.100s", text)
	}
}

func TestAnOrdersKeyAndIDAreItsOwn(t *testing.T) {
	o := Order{Application: "../web", DeploymentGroup: "a/b"}
	at := time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)
	assert.Equal(t, "orders/%2E%2E%2Fweb/a%2Fb/20261128T010203Z-00ff.json", Key(o, at, []byte{0, 255}))
	id := ID("orders/a", "v1")
	assert.Regexp(t, regexp.MustCompile(`^order\.[0-9a-f]{32}$`), id)
	assert.NotEqual(t, id, ID("orders/a", "v2"))
	assert.NotEqual(t, id, ID("orders/b", "v1"))
}

func TestWhoOrdersIsNamedByAWS(t *testing.T) {
	for _, good := range []string{"AWS:AROAEXAMPLE:alice@example.com", "AIDAEXAMPLE", "AWS:222222222222"} {
		assert.True(t, IsOperator(good), good)
	}
	for _, bad := range []string{"", "a b", "x\x1b[2J", strings.Repeat("a", 301)} {
		assert.False(t, IsOperator(bad), bad)
	}
}
