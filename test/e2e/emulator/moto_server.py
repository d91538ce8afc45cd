"""Starts moto_server with the gaps filled that cannot be filled through an API.

Secrets: GitLab's role names the secret it may read. Where moto's CloudFormation
ignores the secret, that name is empty, and moto refuses the role's policy and so
the whole stack.

Keys: KMS calls the parts of a tag TagKey and TagValue, CloudFormation does not. Moto
hands CloudFormation's on as they are, and fails on them.

Parameters: CloudFormation writes the tags of a parameter of Systems Manager as a
mapping. Moto wants a list of them, and fails on the whole stack.

Bucket policies: moto applies a Deny without looking at its condition. The
artifact bucket's, which refuses what does not come through account A's VPC
endpoint, would refuse every upload; moto knows no endpoint a call came through.

Events: moto looks for a bucket's queue in the account of the uploader, which is
not the bucket's, and finds none. It also leaves out the fields versionId and
sequencer, which S3 sends for a versioned bucket, and userIdentity, which says who
wrote the object; here that is the access key.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html

Applications and roles: CloudFormation there makes no application of CodeDeploy, and
attaches no managed policy to a role. No deployment group can be deleted at all, and
no stack whose Auto Scaling group is gone, as CodeDeploy leaves it.

CodeDeploy's answers: moto writes times as text, and names Auto Scaling groups in
a form of its own. The AWS CLI reads that, the SDK for Go refuses it. A deployment
stays Created for ever, and lists have deployments of all times: a group would be busy
for good with the first one that its record has forgotten.

Template URLs: moto takes the bucket from the path of a URL on "localhost" only.
Without AWS_ENDPOINT_URL the CDK CLI needs the address instead of the name, or it
would look for a host named like its bucket.

With the argument "needless" it only names the changes moto could do without.
"""

import datetime
import functools
import inspect
import itertools
import json
import re
import sys
import time

from flask import request
from moto.autoscaling.models import FakeAutoScalingGroup, autoscaling_backends
from moto.cloudformation import responses as cloudformation_responses
from moto.cloudformation.utils import get_stack_from_s3_url
from moto.codedeploy.models import (
    Application,
    DeploymentGroup,
    DeploymentInfo,
    codedeploy_backends,
)
from moto.codedeploy.responses import CodeDeployResponse
from moto.core.common_models import CloudFormationModel
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import AWSManagedPolicy, Role, iam_backends
from moto.kms.models import Key
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3 import notifications
from moto.s3.models import FakeBucket
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import Parameter


class GeneratedSecret(CloudFormationModel):
    """AWS::SecretsManager::Secret as far as GenerateSecretString goes.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html
    """

    # Moto files each model under a service, which it takes from here.
    __module__ = "moto.secretsmanager.models"

    def __init__(self, arn):
        self.physical_resource_id = arn

    @staticmethod
    def cloudformation_name_type():
        return "Name"

    @staticmethod
    def cloudformation_type():
        return "AWS::SecretsManager::Secret"

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr == "Id"

    def get_cfn_attribute(self, _name):
        return self.physical_resource_id

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name, cloudformation_json, account_id, region_name, **_
    ):
        properties = cloudformation_json["Properties"]
        wish = properties.get("GenerateSecretString", {})
        backend = secretsmanager_backends[account_id][region_name]
        password = backend.get_random_password(
            password_length=int(wish.get("PasswordLength", 32)),
            exclude_characters=wish.get("ExcludeCharacters", ""),
            exclude_numbers=False,
            exclude_punctuation=bool(wish.get("ExcludePunctuation", False)),
            exclude_uppercase=False,
            exclude_lowercase=False,
            include_space=False,
            require_each_included_type=True,
        )
        secret = backend.create_secret(
            name=resource_name,
            secret_string=json.loads(password)["RandomPassword"],
            secret_binary=None,
            description=properties.get("Description"),
            tags=properties.get("Tags", []),
            kms_key_id=None,
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        return cls(json.loads(secret)["ARN"])

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, *_, **__):
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, *_, **__):
        pass  # retained, as the stack asks for


class DeployableApplication(CloudFormationModel):
    """AWS::CodeDeploy::Application.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-codedeploy-application.html
    """

    __module__ = "moto.codedeploy.models"

    def __init__(self, name):
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type():
        return "ApplicationName"

    @staticmethod
    def cloudformation_type():
        return "AWS::CodeDeploy::Application"

    @classmethod
    def has_cfn_attr(cls, _attr):
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name, cloudformation_json, account_id, region_name, **_
    ):
        properties = cloudformation_json["Properties"]
        codedeploy_backends[account_id][region_name].create_application(
            resource_name, properties.get("ComputePlatform", "Server"), []
        )
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, *_, **__):
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name, _json, account_id, region_name
    ):
        backend = codedeploy_backends[account_id][region_name]
        backend.applications.pop(resource_name, None)
        backend.deployment_groups.pop(resource_name, None)


def delete_deployment_group(self):
    application = self._get_param("applicationName")
    self.codedeploy_backend.get_application(application)  # or it says that there is none
    groups = self.codedeploy_backend.deployment_groups.get(application, {})
    groups.pop(self._get_param("deploymentGroupName"), None)
    return json.dumps({"hooksNotCleanedUp": []})


def permit_in_spite_of_the_policy(*_):
    return PermissionResult.NEUTRAL


def send_from_the_buckets_account(_account_id, event_name, bucket, key):
    send_event(bucket.account_id, event_name, bucket, key)


def describe_the_version(event_name, bucket, key, notification_id):
    event = get_s3_event(event_name, bucket, key, notification_id)
    for record in event["Records"]:
        if bucket.is_versioned:
            record["s3"]["object"]["versionId"] = key.version_id
        record["userIdentity"] = {"principalId": f"AWS:{access_key()}"}
        record["s3"]["object"]["sequencer"] = f"{next(sequence):018X}"
    return event


def access_key():
    """The access key that the present request is signed with."""
    signed = re.search(
        r"Credential=([A-Za-z0-9]+)/", request.headers.get("Authorization", "")
    )
    return signed[1] if signed else "unsigned"


send_event = notifications.send_event
get_s3_event = notifications._get_s3_event
sequence = itertools.count(0x0055AED6DCD90281E5)


def read_the_path_by_address_too(template_url, **arguments):
    by_name = template_url.replace("//127.0.0.1:", "//localhost:")
    return get_stack_from_s3_url(by_name, **arguments)


def with_numeric_times(to_dict):
    def patched(self):
        answer = to_dict(self)
        for name, value in answer.items():
            if name.endswith("Time") and isinstance(value, str):
                answer[name] = datetime.datetime.fromisoformat(value).timestamp()
        return answer

    return patched


# Seconds from a deployment's creation to its end; the last event of play.go comes after two.
DEPLOYMENT_TAKES = 5


def with_an_end(to_dict):
    def patched(self):
        answer = to_dict(self)
        end = answer["createTime"] + DEPLOYMENT_TAKES
        if end < time.time():
            answer.update(status="Succeeded", completeTime=end)
        return answer

    return patched


def with_named_groups(to_dict):
    def patched(self):
        answer = to_dict(self)
        answer["autoScalingGroups"] = [
            {"name": name} for name in answer["autoScalingGroups"]
        ]
        return answer

    return patched


def with_tags_of_kms(create):
    def patched(cls, resource_name, cloudformation_json, *arguments, **more):
        properties = dict(cloudformation_json["Properties"])
        properties["Tags"] = [
            {"TagKey": tag["Key"], "TagValue": tag["Value"]}
            for tag in properties.get("Tags", [])
        ]
        renamed = {**cloudformation_json, "Properties": properties}
        return create.__func__(cls, resource_name, renamed, *arguments, **more)

    return classmethod(patched)


def with_attached_policies(create):
    """AWS's own policies are known to moto by their names only when they are attached."""

    def patched(
        cls, resource_name, cloudformation_json, account_id, region_name, **more
    ):
        role = create.__func__(
            cls, resource_name, cloudformation_json, account_id, region_name, **more
        )
        backend = iam_backends[account_id]["aws"]
        for arn in cloudformation_json["Properties"].get("ManagedPolicyArns", []):
            path, name = arn.split(":policy")[1].rsplit("/", 1)
            if arn not in backend.managed_policies:
                backend.managed_policies[arn] = AWSManagedPolicy(
                    name, account_id, region_name, path=path + "/", document="{}"
                )
            backend.attach_role_policy(arn, role.name)
        return role

    return classmethod(patched)


def with_detached_policies(delete):
    def patched(cls, resource_name, cloudformation_json, account_id, region_name):
        backend = iam_backends[account_id]["aws"]
        for arn in list(backend.get_role(resource_name).managed_policies):
            backend.detach_role_policy(arn, resource_name)
        delete.__func__(
            cls, resource_name, cloudformation_json, account_id, region_name
        )

    return classmethod(patched)


def content_without(delete):
    def patched(self, account_id, region_name):
        groups = autoscaling_backends[account_id][region_name].autoscaling_groups
        if self.name in groups:
            delete(self, account_id, region_name)

    return patched


def with_listed_tags(create):
    def patched(cls, resource_name, cloudformation_json, *arguments, **more):
        properties = dict(cloudformation_json["Properties"])
        properties["Tags"] = [
            {"Key": key, "Value": value}
            for key, value in properties.get("Tags", {}).items()
        ]
        listed = {**cloudformation_json, "Properties": properties}
        return create.__func__(cls, resource_name, listed, *arguments, **more)

    return classmethod(patched)


def patch():
    Parameter.create_from_cloudformation_json = with_listed_tags(
        Parameter.create_from_cloudformation_json
    )
    Key.create_from_cloudformation_json = with_tags_of_kms(
        Key.create_from_cloudformation_json
    )
    Role.create_from_cloudformation_json = with_attached_policies(
        Role.create_from_cloudformation_json
    )
    Role.delete_from_cloudformation_json = with_detached_policies(
        Role.delete_from_cloudformation_json
    )
    FakeAutoScalingGroup.delete = content_without(FakeAutoScalingGroup.delete)
    CodeDeployResponse.delete_deployment_group = delete_deployment_group
    FakeBucket.get_permission = permit_in_spite_of_the_policy
    notifications.send_event = send_from_the_buckets_account
    notifications._get_s3_event = describe_the_version
    cloudformation_responses.get_stack_from_s3_url = read_the_path_by_address_too
    # For each request moto lists its folders, and tries the addresses of all services.
    DomainDispatcherApplication.get_backend_for_host = functools.cache(
        DomainDispatcherApplication.get_backend_for_host
    )
    for model in (Application, DeploymentInfo):
        model.to_dict = with_numeric_times(model.to_dict)
    DeploymentInfo.to_dict = with_an_end(DeploymentInfo.to_dict)
    DeploymentGroup.to_dict = with_named_groups(DeploymentGroup.to_dict)


def needless():
    """Names the changes that this version of moto could do without."""
    from moto.cloudformation import parsing

    types = {model.cloudformation_type(): model for model in parsing.get_model_list()}
    if types["AWS::SecretsManager::Secret"] is not GeneratedSecret:
        yield "secrets"

    if "TagKey" in inspect.getsource(Key.create_from_cloudformation_json):
        yield "keys"

    if '"tags": properties.get("Tags", None)' not in inspect.getsource(
        Parameter.create_from_cloudformation_json
    ):
        yield "parameters"

    if types["AWS::CodeDeploy::Application"] is not DeployableApplication:
        yield "applications"
    if hasattr(CodeDeployResponse, "delete_deployment_group"):
        yield "deletion of deployment groups"
    if "ManagedPolicyArns" in inspect.getsource(Role.create_from_cloudformation_json):
        yield "policies of roles"

    deletion = inspect.getsource(FakeAutoScalingGroup.delete)
    if " in backend" in deletion or "except" in deletion:
        yield "Auto Scaling groups that are gone"

    policy = {
        "Statement": {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-of-nobody"}},
        }
    }
    permitted = IAMPolicy(json.dumps(policy)).is_action_permitted("s3:PutObject", "*")
    if permitted is not PermissionResult.DENIED:
        yield "bucket policies"

    if "bucket.account_id" in inspect.getsource(send_event):
        yield "the events' account"
    if "userIdentity" in inspect.getsource(get_s3_event):
        yield "the events' author"
    if "versionId" in inspect.getsource(get_s3_event):
        yield "the events' fields"

    if "127.0.0.1" in inspect.getsource(get_stack_from_s3_url):
        yield "template URLs"

    application = Application("name", "Server", [])
    if not isinstance(application.to_dict()["createTime"], str):
        yield "CodeDeploy's times"
    if 'self.status = "Created"' not in inspect.getsource(DeploymentInfo):
        yield "ends of deployments"
    if '"autoScalingGroups": self.auto_scaling_groups' not in inspect.getsource(
        DeploymentGroup.to_dict
    ):
        yield "CodeDeploy's groups"


if __name__ == "__main__":
    if sys.argv[1:] == ["needless"]:
        print(*needless(), sep="\n", end="")
        sys.exit()
    patch()
    from moto.server import main

    sys.argv[0] = "moto_server"
    main()
