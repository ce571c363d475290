//! Chooses the context-switch back end (see `src/switch/mod.rs`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=asm");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    // `--cfg gort_force_context="corosensei"` in RUSTFLAGS forces a back end.
    let forced = var("CARGO_CFG_GORT_FORCE_CONTEXT");
    let miri = std::env::var_os("CARGO_CFG_MIRI").is_some();
    let context = if !forced.is_empty() {
        forced
    } else if miri {
        "thread".into()
    } else if matches!(var("CARGO_CFG_TARGET_ARCH").as_str(), "x86_64" | "aarch64") {
        "asm".into()
    } else {
        "corosensei".into()
    };
    println!("cargo::rustc-cfg=gort_context=\"{context}\"");

    // Unwind directives in inline assembly are errors in a compilation without unwind tables.
    println!("cargo::rustc-check-cfg=cfg(gort_no_unwind_tables)");
    // Set by ci/aarch64.sh, which compiles src/switch alone.
    println!("cargo::rustc-check-cfg=cfg(gort_bare)");
    let no_tables = |flag: &str| {
        flag.trim_start_matches("-C")
            .strip_prefix("force-unwind-tables=")
            .is_some_and(|v| matches!(v, "n" | "no" | "off" | "false"))
    };
    if var("CARGO_ENCODED_RUSTFLAGS").split('\x1f').any(no_tables) {
        println!("cargo::rustc-cfg=gort_no_unwind_tables");
    }
}
