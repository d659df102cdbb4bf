//! Compiles what tch lacks of LibTorch, and lets the engine find LibTorch at run time: the folder that
//! torch-sys linked becomes its rpath.

use std::env;
use std::path::{Path, PathBuf};

const SOURCE: &str = "model/program/program.cpp";

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rerun-if-changed={SOURCE}");
    let Some(folder) = env::var_os("DEP_TCH_LIBTORCH_LIB") else { return };
    // The clone's `.libtorch` is a link; the binary keeps working when the clone is moved.
    let folder = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.into());
    compile(&folder);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}

/// Compiles as torch-sys compiles its own part, whose settings these are.
fn compile(libraries: &Path) {
    let root = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let root = root.unwrap_or_else(|| libraries.join(".."));
    let abi = env::var_os("LIBTORCH_CXX11_ABI").unwrap_or_else(|| "1".into());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.to_string_lossy().as_ref())
        .define("GLOG_USE_GLOG_EXPORT", None)
        .file(SOURCE)
        .compile("graftwork_program");
}
