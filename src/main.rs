//! The binary: hands over to the command line.

use std::process::ExitCode;

/// Commands are made of many small strings: with glibc's allocator a quarter of the processor's time went there. librdkafka's
/// memory comes from it, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc when it starts. Two arenas: few threads work at once, and each arena keeps what its threads freed. That goes
/// back to the system after 200 ms instead of ten seconds; not sooner, for the same pages are wanted again with the next
/// transactions. (`MALLOC_CONF` in the environment overrides it.)
#[allow(unsafe_code, reason = "jemalloc looks for it by this name")]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 46] = b"narenas:2,dirty_decay_ms:200,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    crm_processor::cli::main()
}
