//! What the definition refuses at `kubectl apply`: the parser's checks once more, as CEL.
//!
//! Each check is a rule of its own with a message of its own, so that everything that is wrong is named at once. Rules
//! stand on the field that they judge: the API server then tolerates a field of an older object that breaks one, as
//! long as an update leaves that field alone. There are no `pattern`s, because whoever breaks one is shown the pattern.
//!
//! The real API server and the parser are held against each other by `tests/crd_schema.rs`.

use kube::core::{Reason, Rule, validate};
use schemars::Schema;

use crate::arn::ArnError;
use crate::mapping::MAX_GROUPS;
use crate::mapping::template::TemplateError;
use crate::partition::Partition;

/// The longest username or group template.
/// Bound on the cost of the rules, by which the API server measures a definition; upstream has none.
pub(super) const MAX_TEMPLATE_CHARS: usize = 1024;

/// The longest pin on an IAM unique id; the parser's own bound.
pub(super) const MAX_USER_ID_CHARS: usize = 128;

/// Longer than anything that may stand in a field of `sso`: there the rule speaks, not the length.
pub(super) const MAX_SSO_CHARS: usize = 256;

/// An object needs a spec, unless it is an old one that never had any: upstream's definition let such pass.
pub(super) fn has_spec() -> Rule {
    let text = "has(self.spec) || oldSelf.optMap(old, !has(old.spec)).orValue(false)";
    Rule::new(text)
        .message("must be given")
        .field_path(".spec")
        .reason(Reason::FieldValueRequired)
        .optional_old_self(true)
}

/// Who is mapped is said once.
pub(super) fn one_subject() -> Rule {
    Rule::new("has(self.arn) != has(self.sso)").message("exactly one of arn and sso must be given")
}

/// [`crate::mapping::Subject::from_arn`].
pub(super) fn arn(schema: &mut Schema) {
    // Six parts, the last of which may have colons. What has fewer is told only that.
    let unless_shape = "!self.matches('(?i)^arn(:[^:]*){4}:')";
    let service = "(?i)^arn:[^:]*:(iam|sts):";
    let iam = "(?i)^arn:[^:]*:iam(:[^:]*){2}:(root|(role|user)(/[^/:]+)+)$";
    let sts = "(?i)^arn:[^:]*:sts(:[^:]*){2}:(assumed-role(/[^/:]+){2,}|federated-user/[^/:]+)$";
    let open_ended = "(?i)^[^*?]*:role/([^*?]*/)?AWSReservedSSO_[0-9A-Za-z_+=,.@-]{1,32}_[*]$";
    let checks = [
        ("self.matches('^[!-~]*$')".to_owned(), ArnError::Character),
        ("self.matches('(?i)^arn(:[^:]*){4}:')".to_owned(), ArnError::NotAnArn),
        (
            format!("{unless_shape} || self.matches('(?i)^arn:({}):')", partitions()),
            ArnError::Partition,
        ),
        (
            format!("{unless_shape} || self.matches('{service}')"),
            ArnError::Service,
        ),
        (
            format!("{unless_shape} || self.matches('(?i)^arn:[^:]*:[^:]*::')"),
            ArnError::Region,
        ),
        (
            format!("{unless_shape} || self.matches('(?i)^arn(:[^:]*){{3}}:[0-9]{{12}}:')"),
            ArnError::Account,
        ),
        (
            format!("{unless_shape} || !self.matches('{service}') || self.matches('{iam}') || self.matches('{sts}')"),
            ArnError::Resource,
        ),
    ];
    for (rule, error) in checks {
        add(schema, rule, error.to_string());
    }
    add(
        schema,
        format!("!self.contains('*') && !self.contains('?') || self.matches('{open_ended}')"),
        "wildcards match nothing; only role/AWSReservedSSO_<permission set>_* may end in one, and a permission set \
         has 1 to 32 letters, digits or _+=,.@-",
    );
}

/// [`crate::mapping::template::Template::parse`].
pub(super) fn template(schema: &mut Schema) {
    add(
        schema,
        r"self.matches(r'[^\p{Z}\p{Cc}]')",
        TemplateError::Empty.to_string(),
    );
    add(
        schema,
        r"!self.matches(r'\p{Cc}')",
        TemplateError::ControlCharacter.to_string(),
    );
    add(
        schema,
        "self.matches('^([^{]|[{][^{]|[{][{](AccountID|SessionName|SessionNameRaw|AccessKeyID|EC2PrivateDNSName)[}][}])*[{]?$')",
        "has an unknown or unclosed placeholder; known are {{AccountID}}, {{SessionName}}, {{SessionNameRaw}}, \
         {{AccessKeyID}} and {{EC2PrivateDNSName}}",
    );
}

/// The templates of a list of groups.
pub(super) fn groups(schema: &mut Schema) {
    schema.insert("maxItems".to_owned(), MAX_GROUPS.into());
    let Some(Ok(items)) = schema.get_mut("items").map(<&mut Schema>::try_from) else {
        return;
    };
    items.insert("maxLength".to_owned(), MAX_TEMPLATE_CHARS.into());
    template(items);
    add(
        items,
        "!self.startsWith('system:') || !self.contains('{{')",
        "a group with a placeholder must not begin with system:",
    );
}

/// A pin on an IAM unique id.
pub(super) fn user_id(schema: &mut Schema) {
    add(
        schema,
        "self.matches('^[!-~]+$')",
        "must be an IAM unique id such as AROAEXAMPLE, without spaces",
    );
}

/// The name of a permission set, as IAM Identity Center allows it.
pub(super) fn permission_set_name(schema: &mut Schema) {
    add(
        schema,
        "self.matches('^[0-9A-Za-z_+=,.@-]{1,32}$')",
        "must be 1 to 32 letters, digits or _+=,.@-",
    );
}

/// An account.
pub(super) fn account_id(schema: &mut Schema) {
    add(schema, "self.matches('^[0-9]{12}$')", ArnError::Account.to_string());
}

/// A partition. Not an `enum`: the API server would refuse null, which stands for none everywhere else.
pub(super) fn partition(schema: &mut Schema) {
    let rule = format!("self.matches('^({})$')", partitions());
    add(schema, rule, ArnError::Partition.to_string());
}

fn partitions() -> String {
    Partition::ALL.map(Partition::id).join("|")
}

fn add(schema: &mut Schema, rule: impl Into<String>, message: impl Into<String>) {
    let message: String = message.into();
    let rule = Rule::new(rule).message(message.as_str());
    // Two strings always serialize; a rule that were missing would be missed by its row in tests/crd_schema.rs.
    validate(schema, rule).ok();
}
