#!/usr/bin/env bash
# Builds the release, without what differs between two builds of the same sources by the same compilers, so that anybody can
# build it again and compare. The result is target/dist/crm-processor, with its SHA-256 beside it.
#
# Paths are what differs between builds. Rust's are replaced. OpenSSL writes the folder that it is built in into itself and would
# load modules from it, were it told to load any: so all is built in one folder whose name is always the same, and that nobody
# but root can make where the program runs. Where you are not root: sudo install -d -o "$USER" /usr/src/crm-processor
set -euo pipefail
cd "$(dirname "$0")/.."

built=/usr/src/crm-processor
mkdir -p "$built"
# One build at a time, and nothing of the one before.
exec 9>"$built/lock"
flock 9
rm -rf "$built/target"

sources=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
# What would change the code, or be written into it.
unset CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_PROFILE_RELEASE_LTO_LTO
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$built/target"
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$sources=/crm-processor"$'\x1f'"--remap-path-prefix=$cargo_home=/cargo"$'\x1f'"--remap-path-prefix=$sysroot=/rust"

cargo build --profile release-lto --features vendored-openssl --locked --bin crm-processor

mkdir -p target/dist
install -m 755 "$built/target/release-lto/crm-processor" target/dist/crm-processor
rm -rf "$built/target"
(cd target/dist && sha256sum crm-processor | tee crm-processor.sha256)
echo "$(stat -c %s target/dist/crm-processor) bytes; $(rustc --version); $(cc --version | head -n 1)"
