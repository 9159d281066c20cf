//! What the training programs share: flags, what is shown while a model learns, and the way from
//! one to the other.

#![allow(dead_code, reason = "each program uses a part")]

pub mod arguments;
pub mod csv_file;
pub mod data_of_run;
pub mod images;
pub mod interrupts;
pub mod language_models;
pub mod program;
pub mod progress;
pub mod ranks;
pub mod rates;
pub mod resume;
pub mod safeguards;
pub mod share;
pub mod show;
pub mod sizes;
pub mod split;
pub mod start;
pub mod text;
pub mod variants;
pub mod which;
