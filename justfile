# What one runs here. `just --list` shows it; each line can be typed without `just` too.

# Everything a change has to pass, in the order in which it is quick to fail.
ci:
    .ci/run

# All tests on both databases; arguments go to `cargo test`.
test *ARGUMENTS:
    tests/run {{ARGUMENTS}}

# Format, lints and documentation.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --all-features

# All benches, or those of one file: `just bench push`.
bench *FILE:
    cargo bench --locked --all-features {{ if FILE == "" { "" } else { "--bench " + FILE } }}

# The long soak: processes are killed and stopped while every row is checked.
soak MINUTES="10":
    cargo run --locked --release --example soak -- --minutes {{MINUTES}}

# The soak that sets the database itself back: `just restores sqlite` or `just restores postgres`.
restores DATABASE MINUTES="10":
    cargo run --locked --release --all-features --example soak -- --minutes {{MINUTES}} --restores {{DATABASE}}

# The fuzz targets, some seconds each; needs a nightly toolchain and cargo-fuzz.
fuzz SECONDS="60":
    fuzz/run {{SECONDS}}

# Licences and advisories of the dependencies; needs cargo-deny.
deny:
    cargo deny check
