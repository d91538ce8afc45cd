package deploy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
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
			fault, ok := permanent("create the deployment", cause)
			require.Equal(t, want, ok, fault)
			if want == retried {
				assert.Empty(t, fault)
				return
			}
			assert.Contains(t, fault, "cannot create the deployment: ")
			assert.Contains(t, fault, "as AWS says")
			assert.Contains(t, fault, "then run the job again")
		})
	}
	assert.Len(t, permanentFaults, 14, "an entry that this table does not decide on")
}

func TestS14_FaultsWithoutAnAnswerAreRetried(t *testing.T) {
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled, &net.OpError{Op: "dial", Err: errors.New("refused")}} {
		_, ok := permanent("create the deployment", cause)
		assert.False(t, ok)
		assert.False(t, refused(cause), "nobody knows what came of it")
		assert.Empty(t, gone(cause))
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
			if want == "" {
				require.Empty(t, gone(httpError(status)))
				return
			}
			assert.Contains(t, gone(httpError(status)), want)
		})
	}
}

//fault:once a connection breaks, or an answer says nothing | it is not taken for a refusal
func TestS14_OnlyAnAnswerSaysThatNothingWasDone(t *testing.T) {
	for status, want := range map[int]bool{400: true, 403: true, 429: true, 499: true, 500: false, 503: false, 200: false, 399: false} {
		assert.Equal(t, want, refused(httpError(status)), "HTTP %d", status)
	}
}

//fault:words the account has as many deployments as it may | that is told apart from a busy group
func TestS14_TheAccountsLimitIsToldApartFromTheGroups(t *testing.T) {
	for message, ofGroup := range map[string]bool{
		"The Deployment Group 'web' already has an active Deployment 'd-ABCDEF123'": true,
		"deployment d-ABCDEF123 is active":                                          true,
		"The number of allowed deployments was exceeded.":                           false,
		"": false,
	} {
		limited, group := busy(fmt.Errorf("create: %w", &types.DeploymentLimitExceededException{Message: aws.String(message)}))
		assert.True(t, limited)
		assert.Equal(t, ofGroup, group, message)
	}
	limited, _ := busy(errors.New("deployment group d-ABCDEF123"))
	assert.False(t, limited)
}
