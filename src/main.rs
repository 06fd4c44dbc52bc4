//! The binary: hands over to the command line.

use std::process::ExitCode;

/// Commands are made of many small strings: with glibc's allocator a quarter of the processor's time went there. librdkafka's
/// memory comes from it, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc when it starts. Two arenas: few threads work at once, and each arena keeps what its threads freed. That goes
/// back to the system after 20 ms instead of ten seconds; not at once, for the same pages are soon wanted again, which would cost
/// as much CPU as all the rest. (`MALLOC_CONF` in the environment overrides it.)
#[allow(unsafe_code, reason = "jemalloc looks for it by this name")]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 45] = b"narenas:2,dirty_decay_ms:20,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    crm_processor::cli::main()
}
