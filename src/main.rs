//! The binary: hands over to the command line.

use std::process::ExitCode;

/// Commands are made of many small strings: with glibc's allocator a quarter of the processor's time went there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    crm_processor::cli::main()
}
