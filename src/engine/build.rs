//! Lets the engine find LibTorch at run time: the folder that torch-sys linked becomes its rpath.

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Some(folder) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") else { return };
    // The clone's `.libtorch` is a link; the binary keeps working when the clone is moved.
    let folder = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.into());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
