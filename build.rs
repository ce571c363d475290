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

    // Set by ci/aarch64.sh, which compiles src/switch alone.
    println!("cargo::rustc-check-cfg=cfg(gort_bare)");
    // What the flags say of unwind tables, in any of the forms that rustc knows; the last one counts. For `UNWIND_TABLES` in
    // src/switch/mod.rs.
    println!("cargo::rustc-check-cfg=cfg(gort_unwind_tables, values(\"yes\", \"no\"))");
    let said = |flag: &str| {
        let flag = flag.trim_start_matches("--codegen=").trim_start_matches("-C").replace('_', "-");
        let value = flag.strip_prefix("force-unwind-tables")?;
        Some(if matches!(value, "=n" | "=no" | "=off" | "=false") { "no" } else { "yes" })
    };
    if let Some(tables) = var("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter_map(said).next_back() {
        println!("cargo::rustc-cfg=gort_unwind_tables=\"{tables}\"");
    }
}
