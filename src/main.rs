//! The binary; everything is in the library.

use std::process::ExitCode;

/// Reading a hundred thousand mappings frees twice the memory that it keeps. The system's allocator holds on to what is
/// between them; this one gives it back (docs/performance.md has the figures).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    iam_authenticator::cli::run()
}
