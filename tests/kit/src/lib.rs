//! The test kit: real parts on the loopback, used alike by tests, benches and the playground.
//!
//! | part | what it is |
//! | --- | --- |
//! | [`ControlPlane`] | etcd + kube-apiserver + kubectl, with RBAC and our webhook |
//! | [`StsDouble`] | STS behind a CONNECT proxy, under its real names; checks signatures for real |
//! | [`Principal`], [`TokenBuilder`] | who the double knows, and tokens signed by them |
//! | [`Authenticator`] | the program (or its Go peer) as a process, and a client for its ports |
//! | [`Helm`] | helm, for the chart |
//! | [`eventually()`] | waits with a deadline that says what it waited for |
//! | [`builders`] | `ConfigMap`s, custom resources, `TokenReview`s, AWS files |
//!
//! The kit knows nothing of the product's code: signatures come from `aws-sigv4`, so that a mistake in our own signer
//! cannot vouch for itself. Every child process dies with the process that started it, also when that one is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a kit for tests: what it cannot do is a failed test, said by a panic; it reads the clock and the environment for them"
)]

pub mod authenticator;
pub mod builders;
pub mod control_plane;
pub mod eventually;
pub mod helm;
pub mod parts;
pub mod ports;
pub mod principal;
pub mod process;
pub mod sts_double;
pub mod token;
pub mod web;

mod authority;
mod sigv4;

pub use authenticator::{Authenticator, AuthenticatorBuilder};
pub use control_plane::kubeconfig::UserAuth;
pub use control_plane::kubectl::{Kubectl, Output};
pub use control_plane::{ControlPlane, Options};
pub use eventually::{eventually, eventually_sync};
pub use helm::Helm;
pub use parts::{MissingParts, Parts, aws_cli, peer_binary, require_helm, require_parts, require_promtool, required};
pub use principal::Principal;
pub use sts_double::behaviour::{Behaviour, Connect};
pub use sts_double::{Seen, StsDouble};
pub use token::{TokenBuilder, token_of_url};
pub use web::{Reply, Web};
