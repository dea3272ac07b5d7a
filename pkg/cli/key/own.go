package key

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/client"
)

// Auto is the name that stands for the user's own SSH key.
const Auto = "auto"

// ownKeys are the user's public keys that are looked for, best first. EC2 takes
// these types only.
var ownKeys = []string{"id_ed25519.pub", "id_rsa.pub"}

// ImportOptions are the inputs of "key import".
type ImportOptions struct {
	Factory *factory.Factory
	Plan    plan.Options
	Name    string
	File    string
}

// NewImportCommand returns the command "key import".
func NewImportCommand(f *factory.Factory, run func(context.Context, *ImportOptions) error) *cobra.Command {
	o := &ImportOptions{Factory: f}
	if run == nil {
		run = importKey
	}
	cmd := &cobra.Command{
		Use:   "import NAME [PUBLIC-KEY-FILE]",
		Short: "Make a key pair of a public key that you have",
		Long: `Make a key pair of a public key that you have: a file, by default
~/.ssh/id_ed25519.pub or id_rsa.pub. Prints the key pair's id.`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []cobra.Completion{"pub"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if len(args) > 1 {
				o.File = args[1]
			}
			return failure.Wrap(run(cmd.Context(), o), "import key pair", o.Name)
		},
	}
	o.Plan.AddFlags(cmd)
	return cmd
}

func importKey(ctx context.Context, o *ImportOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	file := o.File
	if file == "" {
		if file, err = ownKey(o.Factory); err != nil {
			return err
		}
	}
	public, err := readPublicKey(file)
	if err != nil {
		return err
	}
	request := &ec2types.ImportKeyPairInput{KeyName: &o.Name, PublicKeyMaterial: public, DryRun: o.Plan.Flag()}
	out, err := c.ImportKeyPair(ctx, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return plan.Show(o.Factory.IO, "ImportKeyPair", request)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, ec2types.Value(out.KeyPairId))
	return err
}

// ImportOwn returns the name of the key pair of the user's own SSH key, which it
// imports if the cloud does not have it yet.
func ImportOwn(ctx context.Context, f *factory.Factory, c *client.Client) (string, error) {
	file, err := ownKey(f)
	if err != nil {
		return "", err
	}
	public, err := readPublicKey(file)
	if err != nil {
		return "", err
	}
	out, err := c.DescribeKeyPairs(ctx, &ec2types.DescribeKeyPairsInput{IncludePublicKey: new(true)})
	if err != nil {
		return "", err
	}
	for _, pair := range out.KeyPairs {
		if sameKey(public, []byte(ec2types.Value(pair.PublicKey))) {
			return ec2types.Value(pair.KeyName), nil
		}
	}
	stem := filepath.Base(file)
	name := cmp.Or(f.Getenv("USER"), "own") + "-" + stem[:len(stem)-len(".pub")]
	if _, err := c.ImportKeyPair(ctx, &ec2types.ImportKeyPairInput{KeyName: &name, PublicKeyMaterial: public}); err != nil {
		return "", fmt.Errorf("importing %s: %w", file, err)
	}
	fmt.Fprintf(f.IO.Err, "imported %s as key pair %s\n", file, name)
	return name, nil
}

func ownKey(f *factory.Factory) (string, error) {
	home := f.Getenv("HOME")
	for _, name := range ownKeys {
		file := filepath.Join(home, ".ssh", name)
		if _, err := os.Stat(file); err == nil {
			return file, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking for your SSH key: %w", err)
		}
	}
	return "", failure.WithHint(fmt.Errorf("there is no SSH key of yours in %s", filepath.Join(home, ".ssh")),
		"make a key pair with: bundt key create NAME (or a key of your own with ssh-keygen)")
}

func readPublicKey(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey(b); err != nil {
		if _, private := ssh.ParseRawPrivateKey(b); private == nil {
			return nil, failure.WithHint(fmt.Errorf("%s is a private key", file), "give the public key, usually %s.pub", file)
		}
		return nil, fmt.Errorf("reading the public key %s: %w", file, err)
	}
	return b, nil
}

// PrivateKey returns the file of the private key of the key pair of that name, if
// bundt key create kept it here and it is indeed the one of that public key:
// clouds are many and names are few.
func PrivateKey(f *factory.Factory, name, public string) string {
	file := f.KeyFile(name)
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return ""
	}
	if !sameKey(ssh.MarshalAuthorizedKey(signer.PublicKey()), []byte(public)) {
		return ""
	}
	return file
}

// sameKey reports whether two authorized_keys lines are of one key.
func sameKey(a, b []byte) bool {
	ka, _, _, _, errA := ssh.ParseAuthorizedKey(a)
	kb, _, _, _, errB := ssh.ParseAuthorizedKey(b)
	return errA == nil && errB == nil && bytes.Equal(ka.Marshal(), kb.Marshal())
}
