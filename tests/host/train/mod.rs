//! Files of trainings.

mod run_folder;
