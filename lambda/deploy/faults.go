package deploy

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/lambda/internal/clip"
	"gitlab-codedeploy/lambda/internal/object"
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

// permanent says whether an error of the CodeDeploy client is one that no retry
// cures, and why in the words of the person who uploads.
func permanent(action string, err error) (fault string, ok bool) {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return "", false
	}
	advice, ok := permanentFaults[answer.ErrorCode()]
	if !ok {
		return "", false
	}
	return fmt.Sprintf("cannot %s: %s: %s; %s, then run the job again",
		action, answer.ErrorCode(), clip.Text(answer.ErrorMessage(), 500), advice), true
}

// refused says whether AWS has answered that it did nothing. Without an answer,
// or with one of a broken server, nobody knows.
func refused(err error) bool {
	var answer smithy.APIError
	code := object.Status(err)
	return code >= 400 && code < 500 || errors.As(err, &answer) && answer.ErrorFault() == smithy.FaultClient
}

// busy says whether CodeDeploy takes no deployment now, and whether that is
// because of the group: the account has a limit of its own, by the same name.
// CodeDeploy names the group's active deployment in its message.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
func busy(err error) (busy, ofGroup bool) {
	var limit *types.DeploymentLimitExceededException
	if !errors.As(err, &limit) {
		return false, false
	}
	return true, activeDeployment.MatchString(limit.ErrorMessage())
}

var activeDeployment = regexp.MustCompile(`(?i)deployment group|\bd-[A-Z0-9]{9}\b`)

// ReasonGone is why an upload is rejected whose version was removed.
const ReasonGone = "the object, or this version of it, is gone: upload the artifact again"

// gone says why HeadObject found no object, "" if it did not say so. Its answers
// have no body and therefore nothing but a status: 404 is an object, version or
// bucket that is gone, 405 a version that is a delete marker. 403 may be a
// missing permission and is retried; the role needs s3:ListBucket to be told
// 404 apart from it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func gone(err error) string {
	switch object.Status(err) {
	case http.StatusNotFound:
		return ReasonGone
	case http.StatusMethodNotAllowed:
		return "this version of the object is a delete marker: upload the artifact again"
	}
	return ""
}
