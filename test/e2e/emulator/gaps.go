package emulator

// Gap is something a template asks for that moto's CloudFormation leaves out.
type Gap struct {
	Type     string // CloudFormation type
	Property string // with dots between the steps of its path; empty: the whole resource
	Without  string // what is different here from AWS, after the replay if there is one

	// filled says whether the property has an effect; without it, a resource
	// that moto created closes the gap.
	filled probe
	// replay brings it about through the service's own API; nil: nothing to do,
	// or done elsewhere.
	replay replay
}

// Gaps is the whole list, for moto 5.2.1. [Emulator.replay] works through it
// after each deploy, and reports entries that have become needless. What no API
// can fill stands in moto_server.py.
var Gaps = []Gap{
	{Type: "AWS::S3::Bucket", Property: "VersioningConfiguration",
		filled: bucketIsVersioned, replay: versionBucket},
	{Type: "AWS::S3::Bucket", Property: "NotificationConfiguration.QueueConfigurations",
		filled: bucketNotifies, replay: notifyQueues},
	{Type: "AWS::S3::Bucket", Property: "NotificationConfiguration.EventBridgeConfiguration",
		Without: "nobody is told of removed backups; moto's API does not show the setting",
		filled:  bucketTellsEventBridge},
	{Type: "AWS::S3::Bucket", Property: "PublicAccessBlockConfiguration",
		Without: "kept, not enforced",
		filled:  bucketBlocksPublic, replay: blockPublic},
	{Type: "AWS::S3::Bucket", Property: "OwnershipControls",
		Without: "kept, not enforced",
		filled:  bucketHasOwnership, replay: setOwnership},
	{Type: "AWS::S3::Bucket", Property: "LifecycleConfiguration",
		Without: "nothing expires; moto would keep the rules and not follow them",
		filled:  bucketHasLifecycle},
	{Type: "AWS::S3::Bucket", Property: "LoggingConfiguration",
		Without: "no access log is written",
		filled:  bucketLogs},
	{Type: "AWS::S3::Bucket", Property: "ObjectLockConfiguration",
		Without: "versions are not locked",
		filled:  bucketLocks},
	{Type: "AWS::S3::BucketPolicy",
		Without: "kept, not enforced: an upload from elsewhere succeeds",
		filled:  bucketHasPolicy, replay: setBucketPolicy},
	{Type: "AWS::SQS::QueuePolicy",
		Without: "kept, not enforced",
		filled:  queuesHavePolicy, replay: setQueuePolicy},
	{Type: "AWS::Lambda::Function", Property: "Architectures",
		Without: "the API says x86_64; the host checks the program itself",
		filled:  functionIsArm},
	{Type: "AWS::Lambda::Function", Property: "LoggingConfig",
		Without: "the API does not show it; the host reads the template",
		filled:  functionHasLogging},
	{Type: "AWS::Lambda::EventInvokeConfig",
		Without: "an event that failed is neither tried again nor sent to the dead-letter queue"},
	{Type: "AWS::CloudWatch::Alarm",
		Without: "nothing raises an alarm"},
	{Type: "AWS::SNS::TopicPolicy",
		Without: "anybody may publish; moto enforces no policy"},
	{Type: "AWS::EC2::SecurityGroupEgress",
		Without: "the load balancer may send anywhere; moto moves no packets"},
	{Type: "AWS::IAM::OIDCProvider",
		Without: "nobody's tokens are believed; moto lets anybody assume any role"},
	{Type: "AWS::SSM::Association",
		Without: "nothing is installed on the instances, which do not run"},
	{Type: "AWS::SSM::PatchBaseline",
		Without: "no security update is installed on the instances, which do not run"},
	{Type: "AWS::Backup::BackupVault",
		Without: "no place for snapshots"},
	{Type: "AWS::Backup::BackupPlan",
		Without: "no snapshot is made"},
	{Type: "AWS::Backup::BackupSelection",
		Without: "no snapshot is made"},
	{Type: "AWS::CloudFormation::WaitConditionHandle",
		Without: "no address to report an installation to"},
	{Type: "AWS::CloudFormation::WaitCondition",
		Without: "the deploy does not wait for an installation"},
}

func (g Gap) String() string {
	if g.Property == "" {
		return g.Type
	}
	return g.Type + "." + g.Property
}
