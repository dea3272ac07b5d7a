package cloud

import "strings"

// AliasPrefix begins an image's alias: a parameter's name where an image's id could be.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-systems-manager-parameter-to-find-AMI.html
const AliasPrefix = "resolve:ssm:"

// ParameterName takes apart how requests name one of SSM's parameters: by name or
// ARN, with a version or label after a colon. The selector is "" or begins with
// the colon.
func ParameterName(text string) (name, selector string) {
	if rest, ok := strings.CutPrefix(text, "arn:"); ok {
		fields := strings.SplitN(rest, ":", 5) // partition, service, region, account
		if len(fields) == 5 {
			text = strings.TrimPrefix(fields[4], "parameter")
		}
	}
	if i := strings.IndexByte(text, ':'); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}
