//! How the agent is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // It is small: a tenth of the list of relocations is left. A linker that does not know this ignores it.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
