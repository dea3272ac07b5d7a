package cli

import "github.com/spf13/cobra"

// helpTopics are pages of the manual that are no commands.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "exit-codes",
			Short: "What the exit codes mean",
			Long: `The exit codes of bundt:

    0    it is done
    1    it failed, for a reason without a code of its own; doctor: a check failed
    2    the command line makes no sense
    3    an object that was named does not exist
    4    an object's state, or who uses it, forbids this
    5    what was waited for did not come in time; it goes on in the background
    6    the daemon does not answer
    130  interrupted

bundt ssh exits as the command in the instance did, or with ssh's 255.`,
		},
		{
			Use:   "environment",
			Short: "The environment variables and files that bundt uses",
			Long: `The environment variables:

    BUNDT_SOCKET     address of the daemon, unix:///path; --socket overrides it
    BUNDT_ACCOUNT    account to act in; --account overrides it
    BUNDT_USER       user of it to act as; --user overrides it
    XDG_RUNTIME_DIR  where the user's own daemon has its socket, bundt/bundtd.sock,
                     in it; without it in /tmp/bundt-UID, and as root in
                     /run/bundt
    XDG_DATA_HOME    where bundt keeps the user's own files, in bundt/ in it;
                     ~/.local/share unless set
    NO_COLOR         if set, no colours

The files, below $XDG_DATA_HOME/bundt:

    keys/NAME        private keys made by bundt key create
    known_hosts.d/*  host keys of instances, one file for each daemon`,
		},
		{
			Use:   "output-formats",
			Short: "What -o and --query print",
			Long: `Commands that print objects take -o FORMAT:

    table  aligned columns, for people (the default)
    wide   the same, with more columns
    json   the objects as EC2's API has them, in a list
    yaml   the same as YAML
    name   ids only, one a line

and --query EXPRESSION, a JMESPath expression (https://jmespath.org) that is
applied to what -o json prints. If its result is a text, a number or a list of
such, and no -o was given, it is printed without quotes, one a line:

    bundt ls --query '[?State.Name==` + "`running`" + `].PublicIpAddress'

Data goes to standard output, progress and messages to standard error.`,
		},
	}
}
