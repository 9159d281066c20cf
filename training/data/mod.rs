//! Data to train on. Text: finding it, cutting it into tokens, and dealing the tokens out in
//! batches. Images: [`images`].

pub mod batches;
pub mod bpe;
pub mod corpus;
mod cut;
mod download;
mod encoding;
mod error;
mod files;
pub mod generated;
mod grammar;
pub mod images;
mod layout;
mod lexicon;
pub mod lookup;
mod source;
mod splits;
pub mod tokenizer;
pub mod words;

pub use encoding::NotText;
pub use source::Source;
pub use splits::Splits;
