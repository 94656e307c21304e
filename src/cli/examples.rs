//! The examples in the help of each command. A test reads every one of them as the command line that it is.

pub(super) const ALL: &str = "\
Examples:
  Run the webhook on a control plane node, with mappings from a file and from the cluster:
    aws-iam-authenticator server --config /etc/aws-iam-authenticator/config.yaml --backend-mode MountedFile,CRD

  Let everybody with one IAM role in, as members of a group:
    aws-iam-authenticator add role --rolearn arn:aws:iam::123456789012:role/Developers --username 'dev:{{SessionName}}' --groups developers

  Write the kubeconfig of a user:
    aws-iam-authenticator kubeconfig -i my-cluster --server https://api.example.com --write

Each command has examples of its own: aws-iam-authenticator COMMAND --help.
Exit codes: 0, 1 when it failed, 2 when it was called in a wrong way.";

pub(super) const SERVER: &str = "\
Examples:
  Mappings from a file, read again whenever it changes:
    aws-iam-authenticator server --config /etc/aws-iam-authenticator/config.yaml

  From a file first, so that nodes and break-glass administrators get in while the API server boots, then from the cluster:
    aws-iam-authenticator server -c config.yaml --backend-mode MountedFile,EKSConfigMap,CRD --kubeconfig /etc/kubernetes/admin.conf

  With a certificate that `init` has made before, and JSON logs:
    aws-iam-authenticator server -i my-cluster --kubeconfig-pregenerated -l json

The API server is told to ask this webhook by its flag --authentication-token-webhook-config-file.";

pub(super) const INIT: &str = "\
Examples:
  Into the current directory, to copy it to the control plane nodes:
    aws-iam-authenticator init -i my-cluster

  Into the places that the server looks at:
    aws-iam-authenticator init -i my-cluster --feature-gates ConfiguredInitDirectories=true";

pub(super) const TOKEN: &str = "\
Examples:
  What kubectl runs:
    aws-iam-authenticator token -i my-cluster

  With a role, as kubeconfigs of the Go program have it:
    aws-iam-authenticator token -i my-cluster -r arn:aws:iam::123456789012:role/Developers

  The token alone, for another client:
    aws-iam-authenticator token -i my-cluster --token-only

  See what is in it, and whether STS vouches for it:
    aws-iam-authenticator token -i my-cluster | aws-iam-authenticator verify -i my-cluster -t -";

pub(super) const VERIFY: &str = "\
First it says what the token holds; that needs no network, and is printed also when the token is refused. Then it sends to
STS the very request that the server would send, from this machine. Neither signature nor session token are ever printed.

Examples:
  A token of one's own:
    aws-iam-authenticator token -i my-cluster | aws-iam-authenticator verify -i my-cluster -t -

  For a script:
    aws-iam-authenticator verify -i my-cluster -o json -t -

Exit codes: 0 when STS vouches for the token, 1 when it does not or cannot be asked, 2 when the command was called in a wrong way.";

pub(super) const ADD: &str = "\
The entry is put at the end of its list, in the style that is found there; comments, order and everything else stay as they are.
Nothing is written that the server would refuse, nothing that would replace what another entry grants, and nothing when somebody
else changed the ConfigMap meanwhile: then it is read and edited anew.

Examples:
  A role, one user name for each session:
    aws-iam-authenticator add role --rolearn arn:aws:iam::123456789012:role/Admin --username 'admin:{{SessionName}}' --groups system:masters

  A permission set of IAM Identity Center:
    aws-iam-authenticator add role --sso permissionSetName=View,accountID=123456789012 --username viewer --groups viewers

  A user, in a script:
    aws-iam-authenticator add user --userarn arn:aws:iam::123456789012:user/alice --username alice --groups ops,dev --prompt=false

  As an object of its own, seen before it is made:
    aws-iam-authenticator add role --as crd --rolearn arn:aws:iam::123456789012:role/Dev --username dev --dry-run";

pub(super) const KUBECONFIG: &str = "\
The cluster ID stands in the entry of the cluster, and kubectl (1.20 and later) hands it to `token`: users with the same role,
profile and region have one user entry for all their clusters.

Examples:
  Print it:
    aws-iam-authenticator kubeconfig -i my-cluster --server https://api.example.com --certificate-authority ca.crt

  Merge it into one's own file, with a role and a profile:
    aws-iam-authenticator kubeconfig -i my-cluster --server https://api.example.com --role arn:aws:iam::123456789012:role/Dev --profile work --alias prod --write

  Let kubectl run no other credential plugin:
    aws-iam-authenticator kubeconfig --kuberc";

pub(super) const COMPLETION: &str = "\
Examples:
  bash, for this shell:
    source <(aws-iam-authenticator completion bash)

  zsh, in a directory of $fpath:
    aws-iam-authenticator completion zsh > ~/.zfunc/_aws-iam-authenticator

  fish:
    aws-iam-authenticator completion fish > ~/.config/fish/completions/aws-iam-authenticator.fish

  PowerShell:
    aws-iam-authenticator completion powershell";

pub(super) const CRD: &str = "\
Examples:
  Install or upgrade it:
    aws-iam-authenticator crd | kubectl apply --server-side -f -";

pub(super) const VERSION: &str = "\
Examples:
  The number alone:
    aws-iam-authenticator version --short";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::super::Cli;

    /// A line as a shell would split it; our examples have no quotes but single ones.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (number, part) in line.split('\'').enumerate() {
            if number % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_example_is_a_command_line_of_ours() {
        let mut seen = 0;
        let mut tree = Cli::command();
        let mut texts = vec![tree.get_after_long_help().unwrap().to_string()];
        for command in tree
            .get_subcommands_mut()
            .filter(|command| command.get_name() != "help")
        {
            let text = command.get_after_long_help();
            texts.push(
                text.unwrap_or_else(|| panic!("{} has no examples", command.get_name()))
                    .to_string(),
            );
        }
        for text in texts {
            let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
            for part in indented.flat_map(|line| line.split(" | ")) {
                let part = part.trim_start_matches("source <(").trim_end_matches(')');
                let part = part.split(" > ").next().unwrap();
                if part.starts_with("kubectl") {
                    continue;
                }
                let parsed = Cli::try_parse_from(words(part));
                assert!(parsed.is_ok(), "{part}: {}", parsed.unwrap_err());
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
