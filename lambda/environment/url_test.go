package environment

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestS14_AnAddressHasASchemeAndAHost(t *testing.T) {
	for address, good := range map[string]bool{
		"http://localhost:5000":           true,
		"https://sqs.example.com/1/queue": true,
		"ftp://localhost":                 false,
		"localhost:5000":                  false,
		"http:///queue":                   false,
		"https://":                        false,
		"http://localhost:5000\x7f":       false,
		"http://[::1":                     false,
	} {
		r := reader(map[string]string{"QUEUE_URL": address})
		assert.Equal(t, address, r.URL("QUEUE_URL"))
		if good {
			require.NoError(t, r.Err(), address)
			continue
		}
		require.ErrorContains(t, r.Err(), "QUEUE_URL is", address)
	}
}

func TestS14_APrefixOfKeysIsMoreThanASlash(t *testing.T) {
	for prefix, good := range map[string]bool{"artifacts/": true, "a/b/": true, "": false, "/": false, "artifacts": false} {
		r := reader(map[string]string{"ARTIFACT_BUCKET": "bucket", "ARTIFACT_PREFIX": prefix})
		r.Artifacts()
		assert.Equal(t, good, r.Err() == nil, "%q", prefix)
	}
}
