//! Tests of files and texts, which are the same on every backend.

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "other binaries use the rest"
)]
mod support;

mod host {
    #[cfg(all(
        feature = "interop",
        feature = "peft",
        feature = "text",
        feature = "train"
    ))]
    mod fuzz_corpus;
    #[cfg(feature = "interop")]
    mod interop;
    #[cfg(all(
        feature = "interop",
        feature = "peft",
        feature = "text",
        feature = "train"
    ))]
    mod readers;
    #[cfg(feature = "text")]
    mod text;
    #[cfg(feature = "train")]
    mod train;
}
