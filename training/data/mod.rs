//! Data to train on. Text: finding it, cutting it into tokens, and dealing the tokens out in
//! batches. Images: [`images`].

pub mod batches;
pub mod bpe;
mod byte_level;
mod chat_template;
pub mod corpus;
mod cut;
mod download;
mod encoding;
mod error;
mod files;
pub mod generated;
mod grammar;
mod hugging_face;
pub mod images;
mod kept_pairs;
mod layout;
mod lexicon;
pub mod lookup;
mod pieces;
mod pretrained;
mod source;
mod splits;
mod stop_texts;
mod text_stream;
pub mod tokenizer;
pub mod words;

pub use chat_template::{ChatError, ChatTemplate, Message};
pub use encoding::NotText;
pub use pretrained::{PretrainedError, PretrainedTokenizer};
pub use source::Source;
pub use splits::Splits;
pub use stop_texts::StopTexts;
pub use text_stream::{Decoder, TextStream, decode};
