package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each error that the API reference lists for CreateDeployment and
// GetDeploymentGroup, and AWS's common ones, with the decision about it.
func TestS14_EachAnswerOfCodeDeployIsEitherFinalOrRetried(t *testing.T) {
	const final, retried = true, false
	for code, want := range map[string]bool{
		"ApplicationDoesNotExistException":            final,
		"DeploymentGroupDoesNotExistException":        final,
		"DeploymentConfigDoesNotExistException":       final,
		"InvalidApplicationNameException":             final,
		"InvalidDeploymentGroupNameException":         final,
		"InvalidDeploymentConfigNameException":        final,
		"InvalidRevisionException":                    final,
		"RevisionDoesNotExistException":               final,
		"InvalidAutoScalingGroupException":            final,
		"InvalidLoadBalancerInfoException":            final,
		"InvalidTrafficRoutingConfigurationException": final,
		"InvalidAutoRollbackConfigException":          final,
		"InvalidAlarmConfigException":                 final,
		"AlarmsLimitExceededException":                final,

		"DeploymentLimitExceededException":                   retried, // the group is busy
		"ThrottlingException":                                retried,
		"InvalidRoleException":                               retried, // an operator cures it
		"AccessDeniedException":                              retried,
		"ExpiredTokenException":                              retried,
		"UnrecognizedClientException":                        retried,
		"InternalFailure":                                    retried,
		"ServiceUnavailable":                                 retried,
		"RequestTimeout":                                     retried,
		"ApplicationNameRequiredException":                   retried, // only a bug of ours
		"DeploymentGroupNameRequiredException":               retried,
		"RevisionRequiredException":                          retried,
		"DescriptionTooLongException":                        retried,
		"InvalidFileExistsBehaviorException":                 retried,
		"InvalidGitHubAccountTokenException":                 retried,
		"InvalidIgnoreApplicationStopFailuresValueException": retried,
		"InvalidUpdateOutdatedInstancesOnlyValueException":   retried,
		"InvalidTargetInstancesException":                    retried,
		"ValidationException":                                retried,
		"SomethingNewException":                              retried,
	} {
		t.Run(code, func(t *testing.T) {
			cause := fmt.Errorf("operation error: %w", &smithy.GenericAPIError{Code: code, Message: "as AWS says"})
			err := codeDeployFault("create the deployment", cause)
			require.Equal(t, want, errors.Is(err, ErrRejected), "%v", err)
			assert.ErrorContains(t, err, "create the deployment")
			assert.ErrorContains(t, err, "as AWS says")
			if want == retried {
				assert.ErrorIs(t, err, cause, "the cause stays for whoever has to tell a busy group apart")
			} else {
				assert.ErrorContains(t, err, "then run the job again")
			}
		})
	}
	assert.Len(t, permanentFaults, 14, "an entry that this table does not decide on")
}

func TestS14_FaultsWithoutAnAnswerAreRetried(t *testing.T) {
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled, &net.OpError{Op: "dial", Err: errors.New("refused")}} {
		assert.NotErrorIs(t, codeDeployFault("create the deployment", cause), ErrRejected)
		assert.NotErrorIs(t, headFault(cause), ErrRejected)
	}
}

func TestS14_AnObjectThatIsGoneIsRejectedAndARefusalIsNot(t *testing.T) {
	for status, want := range map[int]string{
		404: "is gone",
		405: "delete marker",
		400: "",
		403: "",
		500: "",
		503: "",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			err := headFault(httpError(status))
			if want == "" {
				require.NotErrorIs(t, err, ErrRejected)
				return
			}
			require.ErrorIs(t, err, ErrRejected)
			assert.ErrorContains(t, err, want)
		})
	}
}
