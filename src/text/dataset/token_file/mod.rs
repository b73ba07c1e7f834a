mod dtype;
mod reader;
mod sidecar;
mod writer;

pub use dtype::TokenDType;
pub use reader::TokenFile;
pub use writer::TokenFileWriter;
