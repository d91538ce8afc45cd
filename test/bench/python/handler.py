"""The trigger's job in Python, as a reference for the benchmarks.

It makes the calls that lambda/trigger makes, by the same rules for metadata,
allow-list, tokens and bundle types, and writes the same status objects. What it leaves
out is off the path that is measured: an object version that is gone or
overtaken within a second, claims that expire, status ids that are taken, and
growing delays. It is written the way such functions usually are: boto3, with
clients that are made when the module is loaded.
"""

import base64
import datetime
import hashlib
import json
import logging
import os
import re
import time
import urllib.parse

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = os.environ["ARTIFACT_BUCKET"]
PREFIX = os.environ["ARTIFACT_PREFIX"]
STATUS_PREFIX = "deployments/"
GROUP_TTL = 300  # seconds
MAX_DESCRIPTION = 256
BATCH_GET = 25
CLOCK_SKEW = datetime.timedelta(minutes=1)

GITLAB_URL = os.environ["GITLAB_URL"]
AUDIENCE = "gitlab-codedeploy"
# What stands before a SHA-256 in a signature: https://datatracker.ietf.org/doc/html/rfc8017#section-9.2
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


with open(os.path.join(os.environ["LAMBDA_TASK_ROOT"], "deployment-groups.json")) as f:
    ALLOWED = {(p["application"], p["deploymentGroup"]): p for p in json.load(f)}
with open(os.path.join(os.environ["LAMBDA_TASK_ROOT"], "gitlab-keys.json")) as f:
    KEYS = {
        k["kid"]: (int.from_bytes(decode(k["n"]), "big"), int.from_bytes(decode(k["e"]), "big"))
        for k in json.load(f)["keys"]
    }

s3 = boto3.client("s3")
# CreateDeployment must not be sent twice.
codedeploy = boto3.client("codedeploy", config=Config(retries={"total_max_attempts": 1}))

log = logging.getLogger()
logging.basicConfig(format="%(message)s")
log.setLevel(logging.INFO)

blue_green = {}  # (application, group): when it was checked

BUNDLES = {
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tgz",
    ".gz": "tgz",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".json": "JSON",
}


class Verdict(Exception):
    """An end that no retry changes: a state and the reason for it."""

    def __init__(self, state, reason):
        super().__init__(reason)
        self.state = state
        self.reason = reason


def handle(event, context):
    failures = []
    for message in event["Records"]:
        try:
            for record in json.loads(message["body"]).get("Records", []):
                deploy(record, message["messageId"])
        except Exception as error:
            log.warning(json.dumps({"message": "retried later", "err": str(error)}))
            failures.append({"itemIdentifier": message["messageId"]})
    return {"batchItemFailures": failures}


def deploy(record, message_id):
    if not record["eventName"].startswith("ObjectCreated:"):
        return
    if record["s3"]["bucket"]["name"] != BUCKET:
        return
    key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
    if not key.startswith(PREFIX):
        return

    head = s3.head_object(Bucket=BUCKET, Key=key)
    version = record["s3"]["object"].get("versionId", head["VersionId"])
    wanted = read_metadata(head["Metadata"])
    application, group = wanted["application-name"], wanted["deploymentgroup-name"]
    upload_id = wanted["upload-id"]
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", upload_id):
        upload_id = version
    status = {
        "uploadId": upload_id,
        "state": "Waiting",
        "deploymentId": "",
        "application": application,
        "deploymentGroup": group,
        "key": key,
        "versionId": version,
        "reason": "",
    }
    try:
        if version != head["VersionId"]:
            raise Verdict("Superseded", "a newer artifact was uploaded to the same key")
        bundle = check(application, group, wanted["bundle-type"], key)
        record, record_etag = get_record(application, group)
        token = prove(ALLOWED[application, group], upload_id, head["LastModified"])
        spend(record, token, key, version)
        status |= {
            "project": token["project_path"],
            "ref": token["ref"],
            "user": token["user_login"],
            "pipelineUrl": f"{GITLAB_URL}/{token['project_path']}/-/pipelines/{token['pipeline_id']}",
        }
        look(application, group, key, version, head["LastModified"])
        upload = {
            "uploadId": upload_id,
            "key": key,
            "versionId": version,
            "uploaded": head["LastModified"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        record["attempt"] = {**upload, "owner": message_id, "at": timestamp()}
        put_record(record, record_etag)
        etag = put_status({**status, "reason": "its deployment is being created"}, IfNoneMatch="*")
    except Verdict as verdict:
        put_status({**status, "state": verdict.state, "reason": verdict.reason})
        log.error(json.dumps({"message": verdict.state, "reason": verdict.reason}))
        return
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        if json.loads(get_status(upload_id))["deploymentId"]:
            return  # A duplicate.
        raise

    created = codedeploy.create_deployment(
        applicationName=application,
        deploymentGroupName=group,
        description=describe(upload_id, head["LastModified"], wanted),
        revision={
            "revisionType": "S3",
            "s3Location": {
                "bucket": BUCKET,
                "key": key,
                "version": version,
                "eTag": head["ETag"].strip('"'),
                "bundleType": bundle,
            },
        },
    )
    status["deploymentId"] = created["deploymentId"]
    status["state"] = "Created"
    put_status(status, IfMatch=etag)
    log.info(json.dumps({"message": "deployment created", **status}))
    print(metric(head["LastModified"], status), flush=True)


def read_metadata(metadata):
    wanted = dict.fromkeys(
        [
            "application-name",
            "deploymentgroup-name",
            "upload-id",
            "commit-sha",
            "pipeline-url",
            "bundle-type",
        ],
        "",
    )
    for name, value in metadata.items():
        name = name.lower().removeprefix("x-amz-meta-")
        if name in wanted:
            wanted[name] = value.strip()
    return wanted


def check(application, group, bundle, key):
    if (application, group) not in ALLOWED:
        raise Verdict("Rejected", f"{application}/{group} is not on the list of what may be deployed")
    if bundle:
        bundle = {b.lower(): b for b in BUNDLES.values()}.get(bundle.lower())
    else:
        bundle = BUNDLES.get(os.path.splitext(key)[1].lower())
    if not bundle:
        raise Verdict("Rejected", "neither the metadata nor the key's ending names a bundle type")
    if time.monotonic() - blue_green.get((application, group), -GROUP_TTL) >= GROUP_TTL:
        info = codedeploy.get_deployment_group(
            applicationName=application, deploymentGroupName=group
        )["deploymentGroupInfo"]
        if info.get("deploymentStyle", {}).get("deploymentType") != "BLUE_GREEN":
            raise Verdict("Rejected", f"deployment group {group} is not blue/green")
        blue_green[application, group] = time.monotonic()
    return bundle


def prove(rule, upload_id, uploaded):
    """The claims of the job's token, if it may deploy."""
    try:
        answer = s3.get_object(Bucket=BUCKET, Key=f"tokens/{upload_id}")
    except s3.exceptions.NoSuchKey:
        raise Verdict("Rejected", "there is no token of the job") from None
    if answer["LastModified"] > uploaded:
        raise Verdict("Rejected", "the token came after the artifact")
    signed, _, signature = answer["Body"].read().decode().rpartition(".")
    header, claims = (json.loads(decode(part)) for part in signed.split("."))
    if header["alg"] != "RS256" or header["kid"] not in KEYS:
        raise Verdict("Rejected", "GitLab signs with a key that is not known")
    modulus, exponent = KEYS[header["kid"]]
    size = (modulus.bit_length() + 7) // 8
    digest = SHA256_PREFIX + hashlib.sha256(signed.encode()).digest()
    want = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    if pow(int.from_bytes(decode(signature), "big"), exponent, modulus).to_bytes(size, "big") != want:
        raise Verdict("Rejected", "the token's signature is not GitLab's")
    at = uploaded.timestamp()
    projects = {str(p["id"]) for p in rule["projects"]}
    if (
        claims["iss"] != GITLAB_URL
        or claims["aud"] != AUDIENCE
        or not claims["nbf"] <= at < claims["exp"]
        or str(claims["project_id"]) not in projects
        or claims["ref"] not in rule["refs"]
        or str(claims["ref_protected"]) != "true"
        or claims.get("pipeline_source") == "merge_request_event"
    ):
        raise Verdict("Rejected", "the job's project or ref may not deploy")
    return claims


def spend(record, token, key, version):
    spent = record.setdefault("spent", [])
    name = hashlib.sha256(f"{key}\0{version}".encode()).hexdigest()[:16]
    for s in spent:
        if s["token"] == token["jti"] and s["upload"] != name:
            raise Verdict("Rejected", "the token was worth another upload already")
    until = datetime.datetime.fromtimestamp(token["exp"] + 2 * 86400, datetime.timezone.utc)
    spent.append({"token": token["jti"], "upload": name, "until": until.isoformat().replace("+00:00", "Z")})


def look(application, group, key, version, uploaded):
    """Looks for a deployment of this upload, or of a newer one."""
    pages = codedeploy.get_paginator("list_deployments").paginate(
        applicationName=application,
        deploymentGroupName=group,
        createTimeRange={"start": uploaded - CLOCK_SKEW},
    )
    for page in pages:
        ids = page["deployments"]
        for start in range(0, len(ids), BATCH_GET):
            infos = codedeploy.batch_get_deployments(deploymentIds=ids[start : start + BATCH_GET])
            for info in infos["deploymentsInfo"]:
                location = info.get("revision", {}).get("s3Location", {})
                if info.get("creator", "user") != "user" or location.get("bucket") != BUCKET:
                    continue
                if (location["key"], location.get("version")) == (key, version):
                    raise RuntimeError("an earlier try has made " + info["deploymentId"])
                match = re.search(r"(?:^| )uploaded=(\S+)", info.get("description", ""))
                if match and datetime.datetime.fromisoformat(match[1]) > uploaded:
                    raise Verdict("Superseded", "the group was given a newer artifact before, by deployment " + info["deploymentId"])


def describe(upload_id, uploaded, wanted):
    parts = {
        "upload-id": upload_id,
        "uploaded": uploaded.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": wanted["commit-sha"],
        "pipeline": wanted["pipeline-url"],
    }
    text = ""
    for name, value in parts.items():
        longer = f"{text} {name}={value}".strip()
        if value and len(longer) <= MAX_DESCRIPTION:
            text = longer
    return text


def put_status(status, **condition):
    status["updatedAt"] = (
        datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    answer = s3.put_object(
        Bucket=BUCKET,
        Key=f"{STATUS_PREFIX}{status['uploadId']}.json",
        Body=json.dumps(status),
        ContentType="application/json",
        **condition,
    )
    return answer["ETag"]


def timestamp():
    return (
        datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def record_key(application, group):
    return f"groups/{application}/{group}.json"


def get_record(application, group):
    """The group's record and its ETag; both new when there is none."""
    try:
        answer = s3.get_object(Bucket=BUCKET, Key=record_key(application, group))
    except s3.exceptions.NoSuchKey:
        return {"application": application, "deploymentGroup": group}, None
    return json.loads(answer["Body"].read()), answer["ETag"]


def put_record(record, etag):
    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    record["updatedAt"] = timestamp()
    answer = s3.put_object(
        Bucket=BUCKET,
        Key=record_key(record["application"], record["deploymentGroup"]),
        Body=json.dumps(record),
        ContentType="application/json",
        **condition,
    )
    return answer["ETag"]


def get_status(upload_id):
    return s3.get_object(Bucket=BUCKET, Key=f"{STATUS_PREFIX}{upload_id}.json")["Body"].read()


def metric(uploaded, status):
    now = datetime.datetime.now(datetime.timezone.utc)
    return json.dumps(
        {
            "_aws": {
                "Timestamp": int(now.timestamp() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": "GitLabCodeDeploy",
                        "Dimensions": [["FunctionName"]],
                        "Metrics": [
                            {"Name": "DeploymentsStarted", "Unit": "Count"},
                            {"Name": "UploadToStartSeconds", "Unit": "Seconds"},
                        ],
                    }
                ],
            },
            "FunctionName": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            "DeploymentsStarted": 1,
            "UploadToStartSeconds": max(0, (now - uploaded).total_seconds()),
            "uploadId": status["uploadId"],
            "application": status["application"],
            "deploymentGroup": status["deploymentGroup"],
        }
    )
