package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/lambda/internal/clip"
)

// permanentFaults is the whole list of CodeDeploy's answers that end an upload
// at once, with what to change. They are the ones that the uploader or the
// owner of the deployment group has to act on, and a new upload is needed
// after that:
//
//	https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html#API_CreateDeployment_Errors
//	https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_GetDeploymentGroup.html#API_GetDeploymentGroup_Errors
//
// Every other answer is retried, and ends in the dead-letter queue when it
// stays. That is right for what passes (DeploymentLimitExceeded while the group
// is busy, throttling, 5xx, time-outs), for what an operator cures without a
// new upload (AccessDenied, InvalidRole, expired credentials), and for a bug of
// ours (DescriptionTooLong, …NameRequired): once it is cured, a redrive of the
// queue deploys what waited.
var permanentFaults = byCode(
	permanentFault{&types.ApplicationDoesNotExistException{}, "create the application in this account and Region, or correct application-name"},
	permanentFault{&types.DeploymentGroupDoesNotExistException{}, "create the deployment group, or correct deploymentgroup-name"},
	permanentFault{&types.InvalidApplicationNameException{}, "correct application-name"},
	permanentFault{&types.InvalidDeploymentGroupNameException{}, "correct deploymentgroup-name"},

	permanentFault{&types.InvalidRevisionException{}, "upload a bundle of a type that the application's compute platform takes"},
	permanentFault{&types.RevisionDoesNotExistException{}, "upload the artifact again"},

	permanentFault{&types.DeploymentConfigDoesNotExistException{}, "give the deployment group a deployment configuration that exists"},
	permanentFault{&types.InvalidDeploymentConfigNameException{}, "correct the deployment group's deployment configuration"},
	permanentFault{&types.InvalidAutoScalingGroupException{}, "correct the deployment group's Auto Scaling group"},
	permanentFault{&types.InvalidLoadBalancerInfoException{}, "correct the deployment group's load balancer"},
	permanentFault{&types.InvalidTrafficRoutingConfigurationException{}, "correct the traffic routing of the group's deployment configuration"},
	permanentFault{&types.InvalidAutoRollbackConfigException{}, "correct the deployment group's rollback configuration"},
	permanentFault{&types.InvalidAlarmConfigException{}, "correct the deployment group's alarms"},
	permanentFault{&types.AlarmsLimitExceededException{}, "give the deployment group fewer alarms"},
)

type permanentFault struct {
	exception smithy.APIError
	advice    string
}

func byCode(faults ...permanentFault) map[string]string {
	advice := make(map[string]string, len(faults))
	for _, f := range faults {
		advice[f.exception.ErrorCode()] = f.advice
	}
	return advice
}

// codeDeployFault turns an error of the CodeDeploy client into a verdict when
// it is permanent, and wraps it otherwise.
func codeDeployFault(action string, err error) error {
	var fault smithy.APIError
	if errors.As(err, &fault) {
		if advice, ok := permanentFaults[fault.ErrorCode()]; ok {
			return reject("cannot %s: %s: %s; %s, then run the job again",
				action, fault.ErrorCode(), clip.Text(fault.ErrorMessage(), 500), advice)
		}
	}
	var busy *types.DeploymentLimitExceededException
	if errors.As(err, &busy) {
		return fmt.Errorf("%w: %s: %w", ErrWaiting, action, err)
	}
	return fmt.Errorf("%s: %w", action, err)
}

// headFault does the same for HeadObject, whose answers have no body and
// therefore nothing but a status: 404 is an object, version or bucket that is
// gone, 405 a version that is a delete marker. 403 may be a missing permission
// and is retried; the role needs s3:ListBucket to be told 404 apart from it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func headFault(err error) error {
	switch httpStatus(err) {
	case http.StatusNotFound:
		return reject("the object, or this version of it, is gone: upload the artifact again")
	case http.StatusMethodNotAllowed:
		return reject("this version of the object is a delete marker: upload the artifact again")
	}
	return fmt.Errorf("read the artifact's metadata: %w", err)
}

// httpStatus is that of the answer an error is about, 0 if it is about none.
func httpStatus(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}
