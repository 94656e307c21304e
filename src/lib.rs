//! AWS IAM authentication for Kubernetes, as a live operator.
//!
//! Data flows one way:
//!
//! ```text
//!  AWS STS ──────────────────────────────┐
//!                                        ▼
//!  API server ── webhook ──► authn ──► Identity ──► MappingTable.lookup ──► Decision ──► TokenReview
//!                                                       ▲  (an immutable snapshot: readers never lock, never await)
//!  CRs, ConfigMaps, files ──► sources ──► SourceUpdate ──► live (one task owns Index) ──► notices ──► logs, metrics
//! ```
//!
//! | layer | modules | may import | never |
//! | --- | --- | --- | --- |
//! | domain | [`arn`] [`partition`] [`identity`] [`token`] [`mapping`] [`authn`] | std, serde, thiserror, encodings, digests, a date type | kube, tokio, axum, hyper, tracing, environment, files, network, clock |
//! | wire | [`crd`] [`token_review`] [`kubeconfig`] | domain, serde, schemars, kube's derive | clients, tokio, axum |
//! | adapters | [`sts`] [`sources`] [`live`] [`credentials`] [`token_cache`] | domain, wire, their one outside library, tokio, tracing | each other, surfaces, cli |
//! | surfaces | [`webhook`] [`admin`] | domain, wire, the read handle of `live`, ports as generics | concrete adapters, the index, each other |
//! | | [`controller`] | domain, wire, the statuses of `live`, metrics, kube | axum, hyper, the sources, other surfaces |
//! | process | [`config`] [`lifecycle`] [`listener`] [`metrics`] [`audit`] | std, clap, the metrics and tracing libraries, domain enums for labels | kube clients, surfaces |
//! | entry | [`cli`] | everything | business rules |
//!
//! `tests/architecture.rs` reads the `use` lines and holds this table.
//!
//! What always holds:
//! - A broken edit locks nobody out: a document that cannot be used keeps its last good content ([`mapping::index`]).
//! - An answer is given as soon as no source could still change it ([`mapping::table`]).
//! - What was validated is what is sent to STS: the request is rebuilt from parsed fields ([`token::presigned`]).
//! - The webhook holds no API client: an outage of the API server does not stop logins.
//! - Tokens, URLs, signatures and keys are in no log, error, metric or `Debug` output.

pub mod admin;
pub mod arn;
pub mod audit;
pub mod authn;
pub mod cli;
pub mod config;
pub mod controller;
pub mod crd;
pub mod credentials;
pub mod identity;
pub mod kubeconfig;
pub mod lifecycle;
pub mod listener;
pub mod live;
pub mod mapping;
pub mod metrics;
pub mod partition;
pub mod sources;
pub mod sts;
pub mod token;
pub mod token_cache;
pub mod token_review;
pub mod webhook;
