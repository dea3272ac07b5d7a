// Command terraform-provider-aws is Terraform's AWS provider as far as the Go
// module proxy has it: version 1.60, of before its major versions, by which no
// module can name it. It is a module of its own, so that nothing of it is in bundt.
package main

import (
	"github.com/hashicorp/terraform/plugin"
	"github.com/terraform-providers/terraform-provider-aws/aws"
)

func main() { plugin.Serve(&plugin.ServeOpts{ProviderFunc: aws.Provider}) }
