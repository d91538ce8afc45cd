package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestS15_AnEndpointOfOnesOwnIsAskedForCredentialsToo(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := r.FormValue("Action")
		mu.Lock()
		asked = append(asked, action)
		mu.Unlock()
		result := `<Account>111111111111</Account>`
		if action == "AssumeRoleWithWebIdentity" {
			result = `<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>`
		}
		_, _ = fmt.Fprintf(w, `<%sResponse><%sResult>%s</%sResult></%sResponse>`, action, action, result, action, action)
	}))
	defer server.Close()
	folder := t.TempDir()
	token, file := filepath.Join(folder, "token"), filepath.Join(folder, "config")
	require.NoError(t, os.WriteFile(token, []byte("header.payload.signature"), 0o600))
	require.NoError(t, os.WriteFile(file, []byte("[profile job]\nrole_arn = arn:aws:iam::111111111111:role/r\nrole_session_name = job-7\nweb_identity_token_file = "+token+"\n"), 0o600))
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": file, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_ENDPOINT_URL": server.URL,
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	cfg, err := openAWS(t.Context(), "ap-northeast-1", "job")
	require.NoError(t, err)
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	assert.Equal(t, "111111111111", aws.ToString(who.Account))
	assert.Equal(t, []string{"AssumeRoleWithWebIdentity", "GetCallerIdentity"}, asked)
	_, err = openAWS(t.Context(), "ap-northeast-1", "nobody")
	assert.ErrorContains(t, err, "nobody")
}
