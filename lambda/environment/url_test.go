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
