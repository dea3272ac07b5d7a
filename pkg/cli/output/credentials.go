package output

import (
	"fmt"

	"github.com/bundt/bundt/pkg/cli/iostreams"
)

// Credentials prints an access key in the form of ~/.aws/credentials, as a profile
// of that name.
// https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
func Credentials(s *iostreams.IOStreams, profile, id, secret string) error {
	_, err := fmt.Fprintf(s.Out, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, id, secret)
	return err
}
