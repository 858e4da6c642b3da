#!/usr/bin/env bash
# Owns: the tests of the kernels on 64-bit ARM: Debian's Rust compiler, its arm64 library, a linker and an emulator are
# unpacked into the test cache, then `cargo test` runs under qemu-user. Nothing is installed; root is not needed.
# Refuses to know: what the tests are about.
#
#   bash scripts/neon.sh [arguments of the test program, as --nocapture or a test's name]
#
# Ends with 2, and a line that says why, where the machine has no such packages to offer.
set -euo pipefail
cd "$(dirname "$0")/.."

LEAST_RUST=1.89
cache="${HADAL_TEST_CACHE:-$PWD/node_modules/.cache/hadal}/arm64"
root="$cache/root"
target=aarch64-unknown-linux-gnu

say() { printf 'neon: %s\n' "$*" >&2; }
not_here() { say "not run: $*"; exit 2; }

# apt-get with lists and packages of its own, for both architectures, from the machine's sources.
apt() {
  local tool=$1; shift
  "apt-$tool" -qq -o "Dir::State::Lists=$cache/lists" -o "Dir::Cache=$cache/packages" \
    -o "APT::Sandbox::User=$(id -un)" -o APT::Architecture=amd64 \
    -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 "$@"
}

# The version of a package that would be installed, without what Debian adds to it.
version_of() { apt cache policy "$1" 2> /dev/null | sed -n 's/^ *Candidate: *\([0-9][0-9.]*\).*/\1/p'; }

# The packages that stand behind one that only names them.
behind() { apt cache depends --no-recommends --no-suggests "$1" | sed -n "s/^ *Depends: *\($2\)$/\1/p" | head -n 1; }

unpack() {
  mkdir -p "$cache/lists/partial" "$cache/packages/archives/partial"
  say 'fetching lists of packages'
  apt get update || not_here 'apt-get could not fetch its lists'
  local rust=rustc std=libstd-rust
  if ! dpkg --compare-versions "$(version_of rustc)" ge $LEAST_RUST; then rust=rustc-web std=libstd-rust-web; fi
  dpkg --compare-versions "$(version_of $rust)" ge $LEAST_RUST ||
    not_here "rustc $LEAST_RUST or newer is not among this machine's packages (it is among those of Debian 12)"
  local driver gcc llvm
  driver="$(behind $std-dev "$std-[0-9.]*")"
  llvm="$(behind "$driver" 'libllvm[0-9]*')"
  gcc="$(behind gcc-aarch64-linux-gnu 'gcc-[0-9]*-aarch64-linux-gnu')"
  local packages=("$rust:amd64" "$std-dev:amd64" "$std-dev:arm64" "$driver:amd64" "$llvm:amd64"
    gcc-aarch64-linux-gnu:amd64 "$gcc:amd64" binutils-aarch64-linux-gnu:amd64 qemu-user-static:amd64
    "lib${gcc%-aarch64*}-dev-arm64-cross" libgcc-s1-arm64-cross libc6-arm64-cross libc6-dev-arm64-cross)
  say "fetching ${#packages[@]} packages"
  rm -rf "$cache/files" "$root.part"
  mkdir -p "$cache/files" "$root.part"
  (cd "$cache/files" && apt get download "${packages[@]}") || not_here 'apt-get could not fetch the packages'
  for file in "$cache"/files/*.deb; do dpkg -x "$file" "$root.part"; done
  rm -rf "$cache/files" "$cache/lists" "$cache/packages"
  mv "$root.part" "$root"
}

for tool in apt-get dpkg cargo; do
  command -v $tool > /dev/null || not_here "$tool is not there"
done
[ "$(dpkg --print-architecture)" = amd64 ] || not_here 'the packages are fetched for amd64 machines (on arm64, cargo test is enough)'
[ -d "$root" ] || unpack

bin="$root/usr/bin"
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu" RUSTC="$bin/rustc" CARGO_TARGET_DIR="$cache/target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$bin/aarch64-linux-gnu-gcc"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$root"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$bin/qemu-aarch64-static -L $root/usr/aarch64-linux-gnu"
say "$("$RUSTC" --version), $("$bin/qemu-aarch64-static" --version | head -n 1)"
cd native
# An emulated processor takes three minutes for what the compiler did not optimise.
export CARGO_PROFILE_TEST_OPT_LEVEL=1
cargo test --offline --locked --quiet --target $target -- "$@"
# What is published is linked too: the tests are built without the door to Node.
cargo build --offline --locked --quiet --target $target
