package lambdahost

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Function is a Lambda function and the place of its code on this machine.
type Function struct {
	Name, ARN, Region, Handler string
	MemoryMB                   int
	Timeout                    time.Duration
	Environment                map[string]string // the function's own variables
	Role                       string            // ARN of its execution role
	LogFormat                  string            // "JSON", "Text" or empty, which means Text

	TaskRoot    string                  // folder with bootstrap and the files packed with it
	Log         string                  // file for the function's output
	Endpoint    string                  // URL of the emulator's AWS, seen by the function as AWS_ENDPOINT_URL
	Credentials aws.CredentialsProvider `json:"-"`
}

// environment is what Lambda's documentation promises a function, and nothing
// of this machine's: a function that needs more must fail here, too.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
func (f Function) environment(runtimeAPI string, credentials aws.Credentials) []string {
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + runtimeAPI,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + fmt.Sprintf("%s/[$LATEST]emulator", time.Now().UTC().Format("2006/01/02")),
		"AWS_REGION=" + f.Region,
		"AWS_DEFAULT_REGION=" + f.Region,
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + credentials.SessionToken,
		"LAMBDA_TASK_ROOT=" + f.TaskRoot,
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"_HANDLER=" + f.Handler,
		"PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin",
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
	}
	if f.LogFormat != "" {
		env = append(env, "AWS_LAMBDA_LOG_FORMAT="+f.LogFormat)
	}
	for name, value := range f.Environment {
		env = append(env, name+"="+value)
	}
	// Not Lambda's, but the one way to keep a function off the real AWS.
	return append(env, "AWS_ENDPOINT_URL="+f.Endpoint)
}
