"""The whole story by boto3's resource API. boto3 is the distribution's.

Arguments: an image to start with. The environment is what bundt env prints; the
endpoint is given by hand, as boto3 reads AWS_ENDPOINT_URL since 1.28 only.
"""

import os
import subprocess
import sys

import boto3
import botocore.exceptions

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]


def guest(instance, command):
    """Runs a command in an instance's guest and returns what it prints."""
    options = ["BatchMode=yes", "LogLevel=ERROR", "ConnectTimeout=10", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    ssh = ["ssh", "-i", "key"] + [a for o in options for a in ("-o", o)]
    run = subprocess.run(ssh + ["root@" + instance.public_ip_address, command], check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip()


def wait_ok(ec2, instance):
    ec2.meta.client.get_waiter("instance_status_ok").wait(InstanceIds=[instance.id])
    instance.reload()


def main(image_id):
    ec2 = boto3.resource("ec2", endpoint_url=ENDPOINT)
    identity = boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()
    source = ec2.Image(image_id)
    assert source.owner_id == identity["Account"], (source.owner_id, identity)

    key = ec2.create_key_pair(KeyName="boto3", KeyType="ed25519")
    with open(os.open("key", os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(key.key_material)
    vpc = next(iter(ec2.vpcs.filter(Filters=[{"Name": "isDefault", "Values": ["true"]}])))
    group = vpc.create_security_group(GroupName="boto3", Description="the story")
    group.authorize_ingress(IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
    group.reload()
    assert group.ip_permissions[0]["FromPort"] == 22, group.ip_permissions

    launch = dict(InstanceType="t3.nano", KeyName="boto3", SecurityGroupIds=[group.id], MinCount=1, MaxCount=1)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "first"}]}]
    (first,) = ec2.create_instances(ImageId=image_id, TagSpecifications=tags, **launch)
    first.wait_until_running()
    wait_ok(ec2, first)
    assert first.tags == [{"Key": "Name", "Value": "first"}], first.tags
    assert first.vpc_id == vpc.id and first.subnet in list(vpc.subnets.all()), first.subnet
    first.create_tags(Tags=[{"Key": "story", "Value": "boto3"}])
    assert [i.id for i in ec2.instances.filter(Filters=[{"Name": "tag:story", "Values": ["boto?"]}])] == [first.id]
    guest(first, "echo made by boto3 >/root/mark; sync")

    image = first.create_image(Name="boto3", NoReboot=True)
    image.wait_until_exists(Filters=[{"Name": "state", "Values": ["available"]}])
    image.reload()
    assert image.state == "available", image.state
    (second,) = ec2.create_instances(ImageId=image.id, **launch)
    second.wait_until_running()
    wait_ok(ec2, second)
    assert guest(second, "cat /root/mark") == "made by boto3"

    volume = next(iter(second.volumes.all()))
    assert volume.attachments[0]["InstanceId"] == second.id, volume.attachments
    second.reload()
    assert "login" in second.console_output(Latest=True).get("Output", "") or second.console_output()["InstanceId"] == second.id

    for instance in (first, second):
        instance.terminate()
    for instance in (first, second):
        instance.wait_until_terminated()
    snapshot = ec2.Snapshot(image.block_device_mappings[0]["Ebs"]["SnapshotId"])
    image.deregister()
    snapshot.delete()
    group.delete()
    key.delete()

    try:
        ec2.Instance("i-0fedcba9876543210").load()
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "InvalidInstanceID.NotFound", e
    else:
        raise AssertionError("an instance that is not there was described")


main(*sys.argv[1:])
