package rights

// told is the scope of a call that its command has to name.
const told = ""

// catalogue is what IAM wants for a call, by the call's name; with an account in front where it is about other things there.
// The names of IAM's actions stand for themselves, too: what asks before a deploy lists those.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
var catalogue = map[string][]grant{
	// Needs no right: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
	"sts:GetCallerIdentity": {},

	// Hosts.
	"ssm:SendCommand":                 {{"ssm:SendCommand", told}, {"ssm:SendCommand", "hosts"}},
	"ssm:GetCommandInvocation":        {{"ssm:GetCommandInvocation", "everything"}},
	"ssm:ListCommandInvocations":      {{"ssm:ListCommandInvocations", "everything"}},
	"ssm:ListCommands":                {{"ssm:ListCommands", "everything"}},
	"ssm:CancelCommand":               {{"ssm:CancelCommand", "commands"}},
	"ssm:DescribeInstanceInformation": {{"ssm:DescribeInstanceInformation", "everything"}},
	// What an installation has printed.
	"ssm:DescribeInstanceAssociationsStatus":  {{"ssm:DescribeInstanceAssociationsStatus", "hosts"}},
	"ssm:DescribeAssociationExecutions":       {{"ssm:DescribeAssociationExecutions", "everything"}},
	"ssm:DescribeAssociationExecutionTargets": {{"ssm:DescribeAssociationExecutionTargets", "everything"}},

	"ssm:StartSession":              {{"ssm:StartSession", "sessions"}},
	"ssm:TerminateSession":          {{"ssm:TerminateSession", "own sessions"}},
	"ssm:ResumeSession":             {{"ssm:ResumeSession", "own sessions"}},
	"ssm:DeleteParameter":           {{"ssm:DeleteParameter", "runner token"}},
	"ssm:GetParameter":              {{"ssm:GetParameter", "bootstrap version"}},
	"secretsmanager:GetSecretValue": {{"secretsmanager:GetSecretValue", "root password"}},
	"ec2:DescribeInstances":         {{"ec2:DescribeInstances", "everything"}},
	"ec2:DescribeVpcEndpoints":      {{"ec2:DescribeVpcEndpoints", "everything"}},
	"iam:GetInstanceProfile":        {{"iam:GetInstanceProfile", "instance profiles"}},
	"iam:ListAttachedRolePolicies":  {{"iam:ListAttachedRolePolicies", "stack roles"}},

	"elasticloadbalancing:DescribeLoadBalancers": {{"elasticloadbalancing:DescribeLoadBalancers", "everything"}},
	"elasticloadbalancing:DescribeTargetGroups":  {{"elasticloadbalancing:DescribeTargetGroups", "everything"}},
	"elasticloadbalancing:DescribeTargetHealth":  {{"elasticloadbalancing:DescribeTargetHealth", "everything"}},
	"elasticloadbalancing:DescribeListeners":     {{"elasticloadbalancing:DescribeListeners", "everything"}},

	// Backups.
	"gitlab s3:ListObjectsV2": {{"s3:ListBucket", "backups"}},
	"gitlab s3:GetObject":     {{"s3:GetObject", "manifests"}},

	// Deployments.
	"deploy s3:ListObjectsV2":           {{"s3:ListBucket", "artifact bucket"}},
	"deploy s3:ListObjectVersions":      {{"s3:ListBucketVersions", "artifact bucket"}},
	"deploy s3:GetObject":               {{"s3:GetObject", told}},
	"deploy s3:HeadObject":              {{"s3:GetObject", "artifacts"}, {"s3:GetObjectVersion", "artifacts"}},
	"deploy s3:PutObject":               {{"s3:PutObject", told}},
	"deploy s3:DeleteObject":            {{"s3:DeleteObject", told}},
	"codedeploy:ListDeploymentGroups":   {{"codedeploy:ListDeploymentGroups", "applications"}},
	"codedeploy:ListDeployments":        {{"codedeploy:ListDeployments", "deployment groups"}},
	"codedeploy:GetDeployment":          {{"codedeploy:GetDeployment", "deployment groups"}},
	"codedeploy:BatchGetDeployments":    {{"codedeploy:BatchGetDeployments", "deployment groups"}},
	"codedeploy:GetDeploymentGroup":     {{"codedeploy:GetDeploymentGroup", "deployment groups"}},
	"codedeploy:StopDeployment":         {{"codedeploy:StopDeployment", "deployments"}},
	"codedeploy:GetApplicationRevision": {{"codedeploy:GetApplicationRevision", "applications"}},
	// https://docs.aws.amazon.com/codedeploy/latest/userguide/auth-and-access-control-permissions-reference.html
	"codedeploy:CreateDeployment": {{"codedeploy:CreateDeployment", "deployment groups"}, {"codedeploy:GetDeploymentConfig", "deployment configurations"},
		{"codedeploy:GetApplicationRevision", "applications"}, {"codedeploy:RegisterApplicationRevision", "applications"},
		{"s3:GetObject", "artifacts"}, {"s3:GetObjectVersion", "artifacts"}},
	"sqs:GetQueueAttributes":   {{"sqs:GetQueueAttributes", "queues"}},
	"sqs:ReceiveMessage":       {{"sqs:ReceiveMessage", "dead letters"}},
	"sqs:ListMessageMoveTasks": {{"sqs:ListMessageMoveTasks", "dead letters"}},
	"sqs:SendMessage":          {{"sqs:SendMessage", "queue"}},
	// The task works with the rights of who starts it.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
	"sqs:StartMessageMoveTask": {{"sqs:StartMessageMoveTask", "dead letters"}, {"sqs:ReceiveMessage", "dead letters"}, {"sqs:DeleteMessage", "dead letters"},
		{"sqs:GetQueueAttributes", "dead letters"}, {"sqs:SendMessage", "queue"}},
	"lambda:Invoke":                   {{"lambda:InvokeFunction", "status function"}},
	"lambda:GetFunctionConfiguration": {{"lambda:GetFunctionConfiguration", "functions"}},
	"logs:FilterLogEvents":            {{"logs:FilterLogEvents", "function logs"}},
	"logs:DescribeLogGroups":          {{"logs:DescribeLogGroups", "everything"}},

	// Before a deploy, and a deploy.
	"cloudformation:DescribeStacks":              {{"cloudformation:DescribeStacks", "stack"}},
	"cloudformation:DescribeStackEvents":         {{"cloudformation:DescribeStackEvents", "stack"}},
	"cloudformation:DescribeStackResources":      {{"cloudformation:DescribeStackResources", "stacks"}},
	"cloudformation:ListStackResources":          {{"cloudformation:ListStackResources", "stack"}},
	"cloudformation:GetTemplate":                 {{"cloudformation:GetTemplate", "stack"}},
	"cloudformation:SetStackPolicy":              {{"cloudformation:SetStackPolicy", "stack"}},
	"cloudformation:UpdateTerminationProtection": {{"cloudformation:UpdateTerminationProtection", "stack"}},
	"cloudformation:DeleteStack":                 {{"cloudformation:DeleteStack", "stack"}},
	// The CDK CLI acts by the roles of its bootstrap, and CloudFormation by one that it hands over.
	// https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
	"sts:AssumeRole":                          {{"sts:AssumeRole", "bootstrap roles"}},
	"acm:DescribeCertificate":                 {{"acm:DescribeCertificate", "certificate"}},
	"route53:GetHostedZone":                   {{"route53:GetHostedZone", "hosted zone"}},
	"iam:GetRole":                             {{"iam:GetRole", "named roles"}},
	"iam:GetOpenIDConnectProvider":            {{"iam:GetOpenIDConnectProvider", "identity provider"}},
	"codedeploy:BatchGetDeploymentGroups":     {{"codedeploy:BatchGetDeploymentGroups", "deployment groups"}},
	"deploy s3:ListBucket":                    {{"s3:ListBucket", "artifact bucket"}},
	"deploy s3:HeadBucket":                    {{"s3:ListBucket", "artifact bucket"}},
	"deploy s3:GetBucketPolicy":               {{"s3:GetBucketPolicy", "artifact bucket"}},
	"gitlab iam:SimulatePrincipalPolicy":      {{"iam:SimulatePrincipalPolicy", "stack roles"}},
	"deploy iam:SimulatePrincipalPolicy":      {{"iam:SimulatePrincipalPolicy", "named roles"}},
	"s3:ListAllMyBuckets":                     {{"s3:ListAllMyBuckets", "everything"}},
	"s3:ListBuckets":                          {{"s3:ListAllMyBuckets", "everything"}},
	"ec2:DescribeAvailabilityZones":           {{"ec2:DescribeAvailabilityZones", "everything"}},
	"ec2:DescribeAddresses":                   {{"ec2:DescribeAddresses", "everything"}},
	"ec2:DescribeImages":                      {{"ec2:DescribeImages", "everything"}},
	"ec2:DescribeInstanceTypes":               {{"ec2:DescribeInstanceTypes", "everything"}},
	"ec2:DescribeInstanceTypeOfferings":       {{"ec2:DescribeInstanceTypeOfferings", "everything"}},
	"ec2:DescribeNatGateways":                 {{"ec2:DescribeNatGateways", "everything"}},
	"ec2:DescribeSubnets":                     {{"ec2:DescribeSubnets", "everything"}},
	"ec2:DescribeVolumes":                     {{"ec2:DescribeVolumes", "everything"}},
	"ec2:DescribeVpcs":                        {{"ec2:DescribeVpcs", "everything"}},
	"servicequotas:GetServiceQuota":           {{"servicequotas:GetServiceQuota", "everything"}},
	"servicequotas:GetAWSDefaultServiceQuota": {{"servicequotas:GetAWSDefaultServiceQuota", "everything"}},

	// Before there is an environment.
	"acm:ListCertificates":        {{"acm:ListCertificates", "everything"}},
	"route53:ListHostedZones":     {{"route53:ListHostedZones", "everything"}},
	"codedeploy:ListApplications": {{"codedeploy:ListApplications", "everything"}},
	"ssm:GetParameters":           {{"ssm:GetParameters", "newest images"}},
	// The sample target.
	"cloudformation:CreateStack": {{"cloudformation:CreateStack", "sample stack"}, {"cloudformation:TagResource", "sample stack"}, {"iam:PassRole", "deploying role"}},
	"deploy codedeploy:CreateDeploymentGroup": {{"codedeploy:CreateDeploymentGroup", "deployment groups"}, {"codedeploy:TagResource", "deployment groups"},
		{"iam:PassRole", "sample roles"}},
	"deploy codedeploy:DeleteDeploymentGroup": {{"codedeploy:DeleteDeploymentGroup", "deployment groups"}},
	"autoscaling:DescribeAutoScalingGroups":   {{"autoscaling:DescribeAutoScalingGroups", "everything"}},
	"autoscaling:DeleteAutoScalingGroup":      {{"autoscaling:DeleteAutoScalingGroup", "sample instances"}},

	// By hand, with a break-glass role: docs/recovery.md and docs/migration.md. The buckets' and keys' policies open what
	// they hold to these roles, and to nobody else.
	"break-glass:Recovery": {
		{"ec2:StopInstances", "server"}, {"ec2:StartInstances", "server"}, {"ec2:AttachVolume", "server"}, {"ec2:DetachVolume", "server"},
		{"ec2:ModifyInstanceAttribute", "server"}, {"ec2:TerminateInstances", "server"},
		{"ec2:AttachVolume", "volumes"}, {"ec2:DetachVolume", "volumes"}, {"ec2:CreateVolume", "volumes"}, {"ec2:ModifyVolume", "volumes"},
		{"ec2:CreateVolume", "snapshots"},
		{"ec2:DescribeInstances", "everything"}, {"ec2:DescribeVolumes", "everything"}, {"ec2:DescribeSnapshots", "everything"},
		{"backup:ListRecoveryPointsByBackupVault", "vault"}, {"backup:ListBackupJobs", "everything"}, {"backup:StartBackupJob", "vault"},
		{"s3:ListBucket", "backups"}, {"s3:GetObject", "parts"}, {"s3:PutObject", "parts"}, {"s3:AbortMultipartUpload", "parts"},
	},
}
