//! The binary: hands over to the command line.

use std::process::ExitCode;

/// jemalloc serves all memory, librdkafka's included. With glibc's allocator a quarter of the processor's time went into allocating,
/// because commands are made of many small strings.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The settings that jemalloc reads when it starts. There are two arenas, because few threads work at once and each arena keeps what
/// its threads freed. Freed pages go back to the system after 200 ms instead of ten seconds, but not sooner, because the next
/// transactions need pages again. `MALLOC_CONF` in the environment overrides these settings.
#[allow(unsafe_code, reason = "jemalloc looks for it by this name")]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 46] = b"narenas:2,dirty_decay_ms:200,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    crm_processor::cli::main()
}
