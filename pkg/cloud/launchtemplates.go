package cloud

import (
	"context"
	"regexp"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// TemplateRef names a launch template by its id or its name.
type TemplateRef struct{ ID, Name string }

// TemplateRequest is what makes a launch template, or a version of one.
type TemplateRequest struct {
	Template    TemplateRef // of a new version; the Name of a new template
	Source      string      // version that the data are laid over, "" for none
	Description string
	Data        []byte // EC2's RequestLaunchTemplateData in JSON
	Tags        model.Tags
	CreatedBy   string `json:"-"` // ARN
	ClientToken string `json:"-"`
	// Merge lays a new version's data over the source's.
	Merge func(source, data []byte) ([]byte, error) `json:"-"`
}

var templateName = regexp.MustCompile(`^[A-Za-z0-9(). /_-]{3,128}$`)

// EC2's limits of launch templates.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/launch-template-restrictions.html
const (
	maxTemplates          = 5000
	maxTemplateVersions   = 10000
	maxVersionDescription = 255
)

// CreateLaunchTemplate makes a launch template with its first version.
func (c *Account) CreateLaunchTemplate(ctx context.Context, r TemplateRequest) (out model.LaunchTemplate, err error) {
	if !templateName.MatchString(r.Template.Name) {
		return out, model.Errorf(model.CodeTemplateNameMalformed, "The launch template name '%s' is not valid: 3 to 128 of a-z, A-Z, 0-9, ( ) . - / _", r.Template.Name)
	}
	if err := checkTags(r.Tags); err != nil {
		return out, err
	}
	if err := checkVersionDescription(r.Description); err != nil {
		return out, err
	}
	err = c.oncePerToken(ctx, "CreateLaunchTemplate", r.ClientToken, r, func(tx *store.Tx) ([]string, error) {
		name := records.Name{Kind: model.LaunchTemplatePrefix, OwnerID: c.id, Name: r.Template.Name, ID: model.NewID(model.LaunchTemplatePrefix)}
		taken, err := records.Names.Exists(tx, records.NameKey(name.Kind, name.OwnerID, name.Name))
		if err != nil {
			return nil, err
		}
		if taken {
			return nil, model.Errorf(model.CodeTemplateNameTaken, "Launch template name already in use.")
		}
		if err := c.templateRoom(tx); err != nil {
			return nil, err
		}
		if err := records.Names.Put(tx, &name); err != nil {
			return nil, err
		}
		t := model.LaunchTemplate{
			ID: name.ID, OwnerID: c.id, Name: name.Name, Created: c.now().UTC(), CreatedBy: r.CreatedBy, Default: 1, Tags: r.Tags,
		}
		return []string{t.ID}, c.putVersion(tx, &t, r, r.Data)
	}, func(tx *store.Tx, ids []string) (err error) {
		out, err = c.template(tx, TemplateRef{ID: ids[0]})
		return err
	})
	return out, err
}

// templateRoom refuses one launch template more than EC2 lets an account have.
func (c *Account) templateRoom(tx *store.Tx) error {
	all, err := records.LaunchTemplates.List(tx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(t model.LaunchTemplate) bool { return t.OwnerID != c.id })
	if len(all) >= maxTemplates {
		return model.Errorf(codeResourceLimit, "You have reached the maximum of %d launch templates", maxTemplates)
	}
	return nil
}

// putVersion adds the next version to a template.
func (c *Account) putVersion(tx *store.Tx, t *model.LaunchTemplate, r TemplateRequest, data []byte) error {
	t.Next = max(t.Next, 1)
	v := model.LaunchTemplateVersion{TemplateID: t.ID, Number: t.Next, Description: r.Description, Created: c.now().UTC(), CreatedBy: r.CreatedBy, Data: data}
	t.Latest, t.Next = v.Number, v.Number+1
	if err := records.LaunchTemplates.Put(tx, t); err != nil {
		return err
	}
	return records.LaunchTemplateVersions.Put(tx, &v)
}

func checkVersionDescription(d string) error {
	if len(d) > maxVersionDescription {
		return model.Errorf(model.CodeInvalidParameterValue, "The version description has %d characters; %d is the most", len(d), maxVersionDescription)
	}
	return nil
}

// oncePerToken runs do at most once for a client token, and then read with the
// ids that do gave, in one transaction. The token stands for these parameters.
func (c *Account) oncePerToken(ctx context.Context, action, token string, parameters any, do func(*store.Tx) ([]string, error), read func(*store.Tx, []string) error) error {
	hash, err := paramsHash(parameters)
	if err != nil {
		return err
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, action, token, hash, func() ([]string, error) { return do(tx) })
		if err != nil {
			return err
		}
		return read(tx, ids)
	})
}

// CreateLaunchTemplateVersion adds a version to a launch template.
func (c *Account) CreateLaunchTemplateVersion(ctx context.Context, r TemplateRequest) (t model.LaunchTemplate, v model.LaunchTemplateVersion, err error) {
	if err := checkVersionDescription(r.Description); err != nil {
		return t, v, err
	}
	err = c.oncePerToken(ctx, "CreateLaunchTemplateVersion", r.ClientToken, r, func(tx *store.Tx) ([]string, error) {
		t, err := c.template(tx, r.Template)
		if err != nil {
			return nil, err
		}
		if t.Next > maxTemplateVersions {
			return nil, model.Errorf(codeResourceLimit, "The launch template %s has had %d versions, which is the maximum", t.ID, maxTemplateVersions)
		}
		data := r.Data
		if r.Source != "" {
			source, err := version(tx, &t, r.Source)
			if err != nil {
				return nil, err
			}
			if data, err = r.Merge(source.Data, data); err != nil {
				return nil, err
			}
		}
		return []string{t.ID, strconv.FormatInt(t.Next, 10)}, c.putVersion(tx, &t, r, data)
	}, func(tx *store.Tx, ids []string) (err error) {
		if t, err = c.template(tx, TemplateRef{ID: ids[0]}); err != nil {
			return err
		}
		v, err = version(tx, &t, ids[1])
		return err
	})
	return t, v, err
}

// template finds one of the account's launch templates.
func (c *Account) template(tx *store.Tx, ref TemplateRef) (model.LaunchTemplate, error) {
	switch {
	case ref.ID != "" && ref.Name != "":
		return model.LaunchTemplate{}, model.Errorf(model.CodeInvalidParameterCombination, "Give the launch template's id or its name, not both")
	case ref.ID != "":
		if model.CheckID(model.LaunchTemplatePrefix, ref.ID) != nil {
			return model.LaunchTemplate{}, model.Errorf(model.CodeTemplateIDMalformed, "Invalid id: \"%s\"", ref.ID)
		}
		return own(c, tx, records.LaunchTemplates, ref.ID, templateNotFound(ref.ID))
	case ref.Name != "":
		missing := model.Errorf(model.CodeTemplateNameNotFound, "The specified launch template, with template name %s, does not exist.", ref.Name)
		n, err := get(tx, records.Names, records.NameKey(model.LaunchTemplatePrefix, c.id, ref.Name), missing)
		if err != nil {
			return model.LaunchTemplate{}, err
		}
		return own(c, tx, records.LaunchTemplates, n.ID, missing)
	}
	return model.LaunchTemplate{}, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter LaunchTemplateId or LaunchTemplateName")
}

func templateNotFound(id string) *model.Error {
	return model.Errorf(model.CodeTemplateIDNotFound, "The specified launch template, with template ID %s, does not exist.", id)
}

// version finds a version by its number, "$Latest" or "$Default".
func version(tx *store.Tx, t *model.LaunchTemplate, name string) (model.LaunchTemplateVersion, error) {
	n, err := VersionNumber(t, name)
	if err != nil {
		return model.LaunchTemplateVersion{}, err
	}
	return get(tx, records.LaunchTemplateVersions, records.TemplateVersionKey(t.ID, n),
		model.Errorf(model.CodeTemplateVersionNotFound, "Could not find the specified version %s for the launch template with ID %s.", name, t.ID))
}

// VersionNumber is the number of a version that is named "$Latest", "$Default", ""
// for the default one, or by a number.
func VersionNumber(t *model.LaunchTemplate, name string) (int64, error) {
	switch name {
	case "$Latest":
		return t.Latest, nil
	case "$Default", "":
		return t.Default, nil
	}
	n, err := strconv.ParseInt(name, 10, 32)
	if err != nil || n < 1 {
		return 0, model.Errorf(model.CodeInvalidParameterValue, "The launch template version '%s' is not valid: it must be a number, $Latest or $Default", name)
	}
	return n, nil
}

// LaunchTemplateVersion returns a version of a launch template; "" is the default one.
func (c *Account) LaunchTemplateVersion(ctx context.Context, ref TemplateRef, name string) (t model.LaunchTemplate, v model.LaunchTemplateVersion, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		if t, err = c.template(tx, ref); err != nil {
			return err
		}
		v, err = version(tx, &t, name)
		return err
	})
	return t, v, err
}

// LaunchTemplates returns the account's launch templates, or those that are named,
// each of which must be there.
func (c *Account) LaunchTemplates(ctx context.Context, refs ...TemplateRef) (out []model.LaunchTemplate, err error) {
	if len(refs) == 0 {
		return owned(ctx, c, records.LaunchTemplates)
	}
	err = c.store.View(ctx, func(tx *store.Tx) error {
		out = out[:0]
		for _, ref := range refs {
			t, err := c.template(tx, ref)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(out, func(o model.LaunchTemplate) bool { return o.ID == t.ID }) {
				out = append(out, t)
			}
		}
		return nil
	})
	return out, err
}

// LaunchTemplateVersions returns versions of a template: all of them, or those named.
func (c *Account) LaunchTemplateVersions(ctx context.Context, t *model.LaunchTemplate, names []string) (out []model.LaunchTemplateVersion, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		if len(names) == 0 {
			out, err = records.LaunchTemplateVersions.ListPrefix(tx, t.ID+".")
			return err
		}
		out = out[:0]
		for _, name := range names {
			v, err := version(tx, t, name)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(out, func(o model.LaunchTemplateVersion) bool { return o.Number == v.Number }) {
				out = append(out, v)
			}
		}
		return nil
	})
	return out, err
}

// SetDefaultVersion makes a version the one that launches use when they name none.
func (c *Account) SetDefaultVersion(ctx context.Context, ref TemplateRef, name, token string) (t model.LaunchTemplate, err error) {
	parameters := struct {
		Template TemplateRef
		Version  string
	}{ref, name}
	err = c.oncePerToken(ctx, "ModifyLaunchTemplate", token, parameters, func(tx *store.Tx) ([]string, error) {
		t, err := c.template(tx, ref)
		if err != nil {
			return nil, err
		}
		v, err := version(tx, &t, name)
		if err != nil {
			return nil, err
		}
		t.Default = v.Number
		return []string{t.ID}, records.LaunchTemplates.Put(tx, &t)
	}, func(tx *store.Tx, ids []string) (err error) {
		t, err = c.template(tx, TemplateRef{ID: ids[0]})
		return err
	})
	return t, err
}

// DeleteLaunchTemplate removes a launch template and its versions. Instances that
// were launched from it stay as they are.
func (c *Account) DeleteLaunchTemplate(ctx context.Context, ref TemplateRef) (t model.LaunchTemplate, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if t, err = c.template(tx, ref); err != nil {
			return err
		}
		versions, err := records.LaunchTemplateVersions.ListPrefix(tx, t.ID+".")
		if err != nil {
			return err
		}
		for i := range versions {
			if err := records.LaunchTemplateVersions.Delete(tx, records.LaunchTemplateVersions.Key(&versions[i])); err != nil {
				return err
			}
		}
		if err := records.Names.Delete(tx, records.NameKey(model.LaunchTemplatePrefix, c.id, t.Name)); err != nil {
			return err
		}
		return records.LaunchTemplates.Delete(tx, t.ID)
	})
	return t, err
}

// VersionRefusal is a version that was not deleted, and why.
type VersionRefusal struct {
	Number int64
	Err    *model.Error
}

// DeleteLaunchTemplateVersions removes versions of a launch template. Those that
// cannot be removed are reported one by one, as EC2 does: the others are gone.
func (c *Account) DeleteLaunchTemplateVersions(ctx context.Context, ref TemplateRef, names []string) (t model.LaunchTemplate, deleted []int64, refused []VersionRefusal, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		deleted, refused = nil, nil
		if t, err = c.template(tx, ref); err != nil {
			return err
		}
		numbers, err := versionNumbers(&t, names)
		if err != nil {
			return err
		}
		left, err := records.LaunchTemplateVersions.ListPrefix(tx, t.ID+".")
		if err != nil {
			return err
		}
		for _, n := range numbers {
			at := slices.IndexFunc(left, func(v model.LaunchTemplateVersion) bool { return v.Number == n })
			switch {
			case at < 0:
				refused = append(refused, VersionRefusal{n, model.Errorf(model.CodeTemplateVersionNotFound, "Could not find the specified version %d for the launch template with ID %s.", n, t.ID)})
			case n == t.Default:
				refused = append(refused, VersionRefusal{n, model.Errorf(model.CodeOperationNotPermitted, "The default version of a launch template cannot be deleted: make another one the default first")})
			default:
				left = slices.Delete(left, at, at+1)
				deleted = append(deleted, n)
				if err := records.LaunchTemplateVersions.Delete(tx, records.TemplateVersionKey(t.ID, n)); err != nil {
					return err
				}
			}
		}
		if len(deleted) == 0 {
			return nil
		}
		t.Latest = left[len(left)-1].Number // the default one, at least, is left
		return records.LaunchTemplates.Put(tx, &t)
	})
	return t, deleted, refused, err
}

// versionNumbers are those of the named versions, each once.
func versionNumbers(t *model.LaunchTemplate, names []string) (numbers []int64, err error) {
	for _, name := range names {
		n, err := VersionNumber(t, name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}
