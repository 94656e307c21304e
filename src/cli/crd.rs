//! `crd`: the definition of the custom resource.

use super::output::{Failure, print};

pub(super) fn run() -> Result<(), Failure> {
    print(&crate::crd::yaml())
}
