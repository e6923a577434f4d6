//! How the agent is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The list of relocations takes 0.3 KB so, and 22 KB otherwise. A linker that does not know this ignores it.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
