//! Folders of Hugging Face.

mod families;
mod folder;
mod hostile;
