package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfigRealFilesLoad(t *testing.T) {
	for _, environment := range []string{"staging", "local"} {
		config, err := Load("../../config", environment)
		require.NoError(t, err)
		require.Equal(t, environment, config.Environment)
		require.Equal(t, "sample-web-blue-green", config.Deploy.DeploymentGroups[0].DeploymentGroup)
	}
}
