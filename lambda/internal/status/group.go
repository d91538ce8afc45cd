package status

import "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

// Group is what a deployment group waits for by its own settings, so that a job
// knows how long its deployment may take. The zero value means unknown.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BlueGreenDeploymentConfiguration.html
type Group struct {
	// Traffic is "manual" where somebody has to let the traffic over within
	// TrafficMinutes, else the deployment is stopped; "automatic" where it moves
	// once the new instances are ready.
	Traffic        string `json:"traffic"`
	TrafficMinutes int32  `json:"trafficMinutes"`
	// Termination is "terminate" where the old instances go TerminationMinutes
	// after the traffic has moved, and "keep" where they stay.
	Termination        string `json:"termination"`
	TerminationMinutes int32  `json:"terminationMinutes"`
}

// GroupOf reads the settings of a group, or those that a deployment had of it.
// Without any, CodeDeploy moves the traffic by itself and keeps what was there.
func GroupOf(settings *types.BlueGreenDeploymentConfiguration) Group {
	if settings == nil {
		return Group{}
	}
	g := Group{Traffic: "automatic", Termination: "keep"}
	if ready := settings.DeploymentReadyOption; ready != nil && ready.ActionOnTimeout == types.DeploymentReadyActionStopDeployment {
		g.Traffic, g.TrafficMinutes = "manual", ready.WaitTimeInMinutes
	}
	if old := settings.TerminateBlueInstancesOnDeploymentSuccess; old != nil && old.Action != types.InstanceActionKeepAlive {
		g.Termination, g.TerminationMinutes = "terminate", old.TerminationWaitTimeInMinutes
	}
	return g
}
