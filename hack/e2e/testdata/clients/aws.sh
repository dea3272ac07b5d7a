#!/usr/bin/env bash
# The whole story by the AWS CLI and its waiters. bundt aws runs the AWS CLI that
# is installed, with this cloud's address and keys.
#   $BUNDT  the bundt command      $IMAGE  an image to start with
set -euo pipefail
: "${BUNDT:?}" "${IMAGE:?}"

ec2() { "$BUNDT" aws --output text --no-cli-pager ec2 "$@"; }
guest() {
	ssh -i key -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout=10 \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "root@$1" "$2"
}
address() { ec2 describe-instances --instance-ids "$1" --query 'Reservations[0].Instances[0].PublicIpAddress'; }
is() { [[ $1 == "$2" ]] || { echo "$3 is '$1', want '$2'" >&2; exit 1; }; }

"$BUNDT" aws sts get-caller-identity --query Arn --output text

ec2 create-key-pair --key-name cli --key-type ed25519 --query KeyMaterial >key
chmod 600 key
group=$(ec2 create-security-group --group-name cli --description 'the story' --query GroupId)
ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp --port 22 --cidr 0.0.0.0/0 >/dev/null

first=$(ec2 run-instances --image-id "$IMAGE" --instance-type t3.nano --key-name cli --security-group-ids "$group" \
	--tag-specifications 'ResourceType=instance,Tags=[{Key=Name,Value=first},{Key=story,Value=cli}]' \
	--block-device-mappings 'DeviceName=/dev/sda1,Ebs={VolumeSize=2,VolumeType=gp3,DeleteOnTermination=true}' \
	--query 'Instances[0].InstanceId')
ec2 wait instance-running --instance-ids "$first"
ec2 wait instance-status-ok --instance-ids "$first"
is "$(ec2 describe-instances --filters Name=tag:story,Values=cl? Name=instance-state-name,Values=running \
	--query 'Reservations[].Instances[].InstanceId')" "$first" 'the tagged instance'
guest "$(address "$first")" 'echo made by the AWS CLI >/root/mark; sync'

image=$(ec2 create-image --instance-id "$first" --name cli --no-reboot --query ImageId)
ec2 wait image-available --image-ids "$image"
second=$(ec2 run-instances --image-id "$image" --instance-type t3.nano --key-name cli --security-group-ids "$group" \
	--query 'Instances[0].InstanceId')
ec2 wait instance-status-ok --instance-ids "$second"
is "$(guest "$(address "$second")" 'cat /root/mark')" 'made by the AWS CLI' 'what the second instance has'

ec2 stop-instances --instance-ids "$first" >/dev/null
ec2 wait instance-stopped --instance-ids "$first"
ec2 terminate-instances --instance-ids "$first" "$second" >/dev/null
ec2 wait instance-terminated --instance-ids "$first" "$second"

snapshot=$(ec2 describe-images --image-ids "$image" --query 'Images[0].BlockDeviceMappings[0].Ebs.SnapshotId')
ec2 deregister-image --image-id "$image"
ec2 delete-snapshot --snapshot-id "$snapshot"
ec2 delete-security-group --group-id "$group"
ec2 delete-key-pair --key-name cli

# What is refused is an error, and the error says what it is.
if ec2 describe-instances --instance-ids i-0fedcba9876543210 2>error; then
	echo 'an instance that is not there was described' >&2
	exit 1
fi
grep -q 'InvalidInstanceID.NotFound' error
