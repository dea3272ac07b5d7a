package api

import "slices"

// Parameter is a member of an action's request as its documentation shows it: a
// leaf, or a structure of which all members are treated alike.
type Parameter struct {
	Path     string   // dotted, through lists: "BlockDeviceMappings.Ebs.VolumeSize"
	Required bool     // the request is refused without it
	Acted    bool     // if not, a request that sets it is refused with UnsupportedOperation
	Values   []string // the only values that are acted on; nil for any
	Leaves   int      // how many members without members of their own it stands for
}

// Parameters lists every member of the action's request, in the request's order.
func (i *Info) Parameters() []Parameter { return i.plan.parameters("") }

func (p structPlan) parameters(prefix string) []Parameter {
	var all []Parameter
	for _, m := range p {
		this := Parameter{Path: prefix + m.name, Required: m.required, Acted: m.acted, Values: slices.Clone(m.allowed), Leaves: 1}
		if len(m.nested) == 0 {
			all = append(all, this)
			continue
		}
		inner := m.nested.parameters(this.Path + ".")
		if !alike(inner) {
			all = append(all, inner...)
			continue
		}
		this.Acted, this.Leaves = inner[0].Acted, 0
		for _, i := range inner {
			this.Leaves += i.Leaves
		}
		all = append(all, this)
	}
	return all
}

// alike reports whether one line can stand for all of these.
func alike(all []Parameter) bool {
	return !slices.ContainsFunc(all, func(p Parameter) bool { return p.Values != nil || p.Acted != all[0].Acted })
}
