package cloud

import (
	"context"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
)

// fitOptions checks an instance's options against its type, and fills in what
// the type decides when the options say nothing.
func fitOptions(o *model.InstanceOptions, typ model.InstanceType) error {
	if o.CoreCount < 0 || o.CoreCount > typ.VCPUs {
		return model.Errorf(model.CodeInvalidParameterValue, "CoreCount %d: the instance type %s has 1 to %d cores", o.CoreCount, typ.Name, typ.VCPUs)
	}
	if o.EbsOptimized && !typ.EbsOptimizable() {
		return model.Errorf(model.CodeInvalidParameterCombination, "EBS-optimized instances are not supported for the instance type %s", typ.Name)
	}
	switch {
	case o.CPUCredits == "":
		o.CPUCredits = typ.DefaultCredits()
	case !typ.Burstable:
		return model.Errorf(model.CodeInvalidParameterCombination, "The instance type %s has no CPU credits", typ.Name).
			WithHint("leave the credit specification out, or choose a type of a t family")
	case o.CPUCredits != model.CreditsStandard && o.CPUCredits != model.CreditsUnlimited:
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter CpuCredits is invalid. Valid values: %s, %s", o.CPUCredits, model.CreditsStandard, model.CreditsUnlimited)
	}
	return nil
}

// Refusals of what an instance is protected from, in EC2's words.
func refuseStop(i *model.Instance) error {
	if !i.Options.DisableAPIStop {
		return nil
	}
	return model.Errorf(model.CodeOperationNotPermitted, "The instance '%s' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.", i.ID)
}

// refuseTermination refuses it for stop protection too, as EC2 does: to end an
// instance is to stop it.
func refuseTermination(i *model.Instance) error {
	if i.Options.DisableAPITermination {
		return model.Errorf(model.CodeOperationNotPermitted, "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.ID)
	}
	if i.Options.DisableAPIStop {
		return model.Errorf(model.CodeOperationNotPermitted, "The instance '%s' may not be terminated. Modify its 'disableApiStop' instance attribute and try again.", i.ID)
	}
	return nil
}

// OfferedTypes returns the instance types that some node of the cloud has the
// emulator and the memory for, used or not, in order of name.
func (c *Account) OfferedTypes(ctx context.Context) ([]model.InstanceType, error) {
	nodes, err := list(ctx, c.store, records.Nodes)
	if err != nil {
		return nil, err
	}
	types := slices.DeleteFunc(model.InstanceTypes(), func(t model.InstanceType) bool {
		return !slices.ContainsFunc(nodes, func(n model.Node) bool {
			return t.MemoryMiB <= n.MemoryMiB && slices.ContainsFunc(n.Archs, t.Supports)
		})
	})
	slices.SortFunc(types, func(x, y model.InstanceType) int { return strings.Compare(x.Name, y.Name) })
	return types, nil
}
