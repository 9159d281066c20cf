//! Text to train on: finding it, cutting it into tokens, and dealing the tokens out in batches.

pub mod batches;
pub mod bpe;
pub mod corpus;
mod download;
mod files;
pub mod generated;
mod grammar;
mod lexicon;
pub mod lookup;
pub mod tokenizer;
pub mod words;
