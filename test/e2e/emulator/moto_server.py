"""Starts moto_server with one resource type that its CloudFormation lacks.

GitLab's role names the secret it may read. Where moto ignores the secret, that
name is empty, and moto refuses the role's policy and so the whole stack: this
gap cannot be filled after the deploy like those of gaps.go.
"""

import json
import sys

from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends


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


if __name__ == "__main__":
    # Moto collects the types when its CloudFormation is first used, which is
    # after this point.
    from moto.server import main

    sys.argv[0] = "moto_server"
    main()
