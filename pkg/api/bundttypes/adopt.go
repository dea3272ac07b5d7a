package bundttypes

// AdoptDomainInput is the request of AdoptDomain: make an image of the disks of a
// machine of the daemon's host that bundt did not make. The machine stays as it is.
type AdoptDomainInput struct {
	ClientToken *string `json:"ClientToken,omitempty" query:"ClientToken"`
	Description *string `json:"Description,omitempty" query:"Description"`
	Domain      *string `json:"Domain,omitempty" query:"Domain" required:"true"` // name or UUID
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name        *string `json:"Name,omitempty" query:"Name"` // of the image; default: the domain's
}

// AdoptDomainOutput is the response of AdoptDomain. The image exists once the task is
// completed, which DescribeImportImageTasks tells.
type AdoptDomainOutput struct {
	ImageId      *string `json:"ImageId,omitempty" xml:"imageId,omitempty"`
	ImportTaskId *string `json:"ImportTaskId,omitempty" xml:"importTaskId,omitempty"`
}
