//! Compiles the XDP program into a skeleton that `src/xdp/program.rs` includes.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "xdp-prog/corelane.bpf.c";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=xdp-prog");
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = env::var_os("OUT_DIR") else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return ExitCode::FAILURE;
    };
    let out = PathBuf::from(out);
    let skeleton = out.join("corelane.skel.rs");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    match SkeletonBuilder::new()
        .source(SOURCE)
        .clang(&clang)
        // None: with rustup's minimal profile `rustfmt` is there and fails.
        .rustfmt(out.join("no-rustfmt"))
        .clang_args(clang_args())
        .build_and_generate(&skeleton)
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!(
                "cargo::error=cannot compile {SOURCE} with `{clang}` (it needs clang 14 or later \
                 and linux-libc-dev; `CLANG` names another one)"
            );
            for line in format!("{error:#}").lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Debian keeps the `asm/` headers of the host in a directory that clang's BPF target does not
/// search.
fn clang_args() -> Vec<String> {
    let mut args: Vec<String> = ["-Wall", "-Wextra", "-Werror", "-mcpu=v3"]
        .map(str::to_owned)
        .into();
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let multiarch = format!("/usr/include/{arch}-linux-gnu");
    if Path::new(&multiarch).is_dir() {
        args.extend(["-idirafter".to_owned(), multiarch]);
    }
    args
}
