//! Checkpoints on disk, and trainings that resume from them.

mod folder;
mod metric;
mod resume;
mod rollback;
