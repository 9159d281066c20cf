//! The words of a file's code.

use super::sources::is_for_tests;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, LitStr, Macro};

/// All names and texts in a file's code, each once; tests and comments left out.
pub fn words_of(file: &syn::File) -> BTreeSet<String> {
    let mut words = Words::default();
    words.visit_file(file);
    words.0
}

#[derive(Default)]
struct Words(BTreeSet<String>);

impl<'a> Visit<'a> for Words {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_ident(&mut self, name: &'a Ident) {
        self.0.insert(name.to_string());
    }

    fn visit_lit_str(&mut self, text: &'a LitStr) {
        self.add_text(&text.value());
    }

    fn visit_macro(&mut self, item: &'a Macro) {
        self.add(item.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

impl Words {
    /// A text without the signs around it, as in "gpu:"; sentences for people stay sentences.
    fn add_text(&mut self, text: &str) {
        let is_sign = |letter: char| !(letter == '_' || letter.is_alphanumeric());
        self.0.insert(text.trim_matches(is_sign).to_owned());
    }

    fn add(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add(group.stream()),
                token => self.add_text(&token.to_string()),
            }
        }
    }
}
