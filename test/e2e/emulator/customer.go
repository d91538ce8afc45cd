package emulator

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// createCodeDeploy makes what a customer has already in account B: the
// applications and blue/green groups that the configuration names.
func (e *Emulator) createCodeDeploy(ctx context.Context) error {
	client := codedeploy.NewFromConfig(e.awsConfig(e.B))
	known := map[string]bool{}
	for _, g := range e.Config.Deploy.DeploymentGroups {
		if !known[g.Application] {
			known[g.Application] = true
			if _, err := client.CreateApplication(ctx, &codedeploy.CreateApplicationInput{
				ApplicationName: &g.Application, ComputePlatform: types.ComputePlatformServer,
			}); err != nil {
				return fmt.Errorf("application %s: %w", g.Application, err)
			}
		}
		if _, err := client.CreateDeploymentGroup(ctx, blueGreenGroup(e.B.ID, g.Application, g.DeploymentGroup)); err != nil {
			return fmt.Errorf("deployment group %s of %s: %w", g.DeploymentGroup, g.Application, err)
		}
	}
	return nil
}

// blueGreenGroup copies an Auto Scaling group for each deployment and moves the
// load balancer's traffic over to the copy.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-groups-create-blue-green.html
func blueGreenGroup(account, application, group string) *codedeploy.CreateDeploymentGroupInput {
	return &codedeploy.CreateDeploymentGroupInput{
		ApplicationName:      &application,
		DeploymentGroupName:  &group,
		ServiceRoleArn:       aws.String("arn:aws:iam::" + account + ":role/codedeploy"),
		DeploymentConfigName: aws.String("CodeDeployDefault.AllAtOnce"),
		AutoScalingGroups:    []string{application},
		DeploymentStyle: &types.DeploymentStyle{
			DeploymentType:   types.DeploymentTypeBlueGreen,
			DeploymentOption: types.DeploymentOptionWithTrafficControl,
		},
		BlueGreenDeploymentConfiguration: &types.BlueGreenDeploymentConfiguration{
			DeploymentReadyOption:        &types.DeploymentReadyOption{ActionOnTimeout: types.DeploymentReadyActionContinueDeployment},
			GreenFleetProvisioningOption: &types.GreenFleetProvisioningOption{Action: types.GreenFleetProvisioningActionCopyAutoScalingGroup},
			TerminateBlueInstancesOnDeploymentSuccess: &types.BlueInstanceTerminationOption{
				Action: types.InstanceActionTerminate, TerminationWaitTimeInMinutes: 5,
			},
		},
		LoadBalancerInfo: &types.LoadBalancerInfo{TargetGroupInfoList: []types.TargetGroupInfo{{Name: &application}}},
	}
}
