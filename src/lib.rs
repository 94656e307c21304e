//! AWS IAM authentication for Kubernetes, as a live operator.
#![warn(rust_2018_idioms)]

pub mod arn;
pub mod authn;
pub mod identity;
pub mod live;
pub mod mapping;
pub mod partition;
//pub mod sts;
pub mod token;
