//! The `driftline` binary: parses the command line, runs one command and exits with its code.

use std::process::ExitCode;

/// librdkafka, the workers and the evaluator allocate on different threads; the system's allocator keeps an arena for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    driftline::cli::main()
}
