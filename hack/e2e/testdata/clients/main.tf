# The resources of the story by Terraform's AWS provider. The environment says
# where the cloud is.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_region_validation      = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = false
  skip_credentials_validation = false
}

variable "image" { type = string }
variable "story" { default = "told" }
variable "size" { default = 1 }

resource "aws_key_pair" "story" {
  key_name   = "story"
  public_key = file("key.pub")
}

resource "aws_security_group" "story" {
  name = "story"
  tags = { story = var.story }
  ingress {
    description = "SSH"
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_instance" "story" {
  ami                    = var.image
  instance_type          = "t3.nano"
  key_name               = aws_key_pair.story.key_name
  vpc_security_group_ids = [aws_security_group.story.id]
  tags                   = { Name = "story", story = var.story }
}

resource "aws_ebs_volume" "story" {
  availability_zone = aws_instance.story.availability_zone
  size              = var.size
  type              = "gp3"
  tags              = { story = var.story }
}

resource "aws_volume_attachment" "story" {
  device_name = "/dev/sdf"
  instance_id = aws_instance.story.id
  volume_id   = aws_ebs_volume.story.id
}

resource "aws_eip" "story" {
  domain   = "vpc"
  instance = aws_instance.story.id
}

resource "aws_ami_from_instance" "story" {
  name                    = "story"
  source_instance_id      = aws_instance.story.id
  snapshot_without_reboot = true
}

output "imported" { value = aws_security_group.story.id }
