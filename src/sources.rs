//! Where mappings come from. Every source is a task of its own that reads one thing, again and again, and tells the
//! index what it found; one that cannot be read holds no other one back.
//!
//! None of them ever gives up, and none decides what a failure means: that is the index's business.

pub mod client;
pub mod config_map;
pub mod crd;
pub mod file;
mod outbox;
mod watch;

pub use client::Connector;
