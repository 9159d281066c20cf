//! How a chat becomes the text that a model was taught to go on with: the Jinja template of Hugging
//! Face's folders, with what `transformers` offers to such templates.

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

/// Why a chat could not be written as its template says.
#[derive(Debug, Error)]
pub enum ChatError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The template has a fault, or uses what is not there.
    #[error("{place}, line {line}: {reason}")]
    Template {
        /// Where the template stands.
        place: String,
        /// The line in it, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The template does not take such a chat: it says so by `raise_exception`.
    #[error("{place}, line {line}: the template does not take this chat: {reason}")]
    Refused {
        /// Where the template stands.
        place: String,
        /// The line in it, from 1.
        line: usize,
        /// What it says.
        reason: String,
    },
}

/// What was said by one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who: `system`, `user` or `assistant`.
    pub role: String,
    /// What.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// The template of a model that was taught to chat.
///
/// Templates are in Jinja, with blocks trimmed as `transformers` has them, Python's methods of strings,
/// lists and dictionaries, `raise_exception`, `strftime_now`, `tojson` as Python writes JSON, `{% break
/// %}`, and `{% generation %}`, which marks what is learnt from and changes nothing here. Special tokens
/// are known by their names, such as `bos_token`. A template that does not come to an end is stopped.
///
/// ```
/// use neutreno::data::{ChatTemplate, Message};
/// let template: ChatTemplate = "{% for message in messages %}<{{ message.role }}>{{ \
///     message['content'].strip() }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
///     .parse()?;
/// let text = template.render(&[Message::new("user", " How are you? ")])?;
/// assert_eq!(text, "<user>How are you?<assistant>");
///
/// let problem = "{{ messages }}\n{% end %}".parse::<ChatTemplate>().unwrap_err();
/// assert_eq!(problem.to_string(), "template, line 2: syntax error: unknown statement end");
/// # Ok::<(), neutreno::data::ChatError>(())
/// ```
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Where it stands.
    place: String,
    /// Special tokens by their names.
    tokens: BTreeMap<String, String>,
}

/// The name of the only template in its environment.
const NAME: &str = "chat";

/// How many steps a template may take; a chat of a thousand messages needs some ten thousands.
const FUEL: u64 = 10_000_000;

impl ChatTemplate {
    /// Reads the template of a model's folder: `chat_template.jinja`, or else `chat_template` in
    /// `tokenizer_config.json`, of several the one that is named `default`. `None` if there is none.
    ///
    /// ```
    /// # use neutreno::data::{ChatTemplate, Message};
    /// let folder = tempfile::tempdir().unwrap();
    /// assert!(ChatTemplate::load(folder.path())?.is_none());
    /// let config = r#"{"eos_token": {"content": "</s>"},
    ///     "chat_template": "{{ messages[0].content + eos_token }}"}"#;
    /// std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    /// let template = ChatTemplate::load(folder.path())?.unwrap();
    /// assert_eq!(template.render(&[Message::new("user", "Hi")])?, "Hi</s>");
    /// assert_eq!(template.special_token("eos_token"), Some("</s>"));
    /// # Ok::<(), neutreno::data::ChatError>(())
    /// ```
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be, or the template has a fault.
    pub fn load(folder: &Path) -> Result<Option<ChatTemplate>, ChatError> {
        let config_path = folder.join("tokenizer_config.json");
        let mut config = read_object(&config_path)?;
        let more = read_object(&folder.join("special_tokens_map.json"))?;
        let tokens = tokens(more.iter().chain(&config));
        let path = folder.join("chat_template.jinja");
        if let Some(source) = read(&path)? {
            return ChatTemplate::parse(&source, path.display().to_string(), tokens).map(Some);
        }
        let invalid = |reason: &str| ChatError::Invalid {
            path: config_path.clone(),
            reason: format!("chat_template {reason}"),
        };
        let source = match config.remove("chat_template") {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(source)) => source,
            Some(Json::Array(named)) => named
                .iter()
                .find(|one| one["name"] == "default")
                .and_then(|one| one["template"].as_str())
                .ok_or_else(|| invalid("has several templates, and none that is named default"))?
                .to_owned(),
            Some(_) => return Err(invalid("must be a template, or a list of named ones")),
        };
        let place = format!("{}, chat_template", config_path.display());
        ChatTemplate::parse(&source, place, tokens).map(Some)
    }

    fn parse(
        source: &str,
        place: String,
        tokens: BTreeMap<String, String>,
    ) -> Result<ChatTemplate, ChatError> {
        let mut environment = Environment::new();
        prepare(&mut environment);
        let added = environment.add_template_owned(NAME, without_generation(source));
        added.map_err(|error| told(&place, &error))?;
        Ok(ChatTemplate { environment, place, tokens })
    }

    /// The text of a chat, up to where the model's answer begins.
    ///
    /// # Errors
    /// [`ChatError::Refused`] if the template does not take such a chat; [`ChatError::Template`] if it
    /// has a fault, or does not come to an end.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let template = self.environment.get_template(NAME).map_err(|e| told(&self.place, &e))?;
        let message = |Message { role, content }: &Message| {
            context! { role, content }
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let context = context! {
            messages, add_generation_prompt => true, tools => (), documents => (),
            ..Value::from(self.tokens.clone())
        };
        template.render(context).map_err(|error| told(&self.place, &error))
    }

    /// A special token by its name, such as `eos_token`.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.tokens.get(name).map(String::as_str)
    }
}

impl FromStr for ChatTemplate {
    type Err = ChatError;

    fn from_str(source: &str) -> Result<ChatTemplate, ChatError> {
        ChatTemplate::parse(source, "template".into(), BTreeMap::new())
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ChatTemplate({}, {:?})", self.place, self.tokens)
    }
}

/// What `transformers` gives to templates.
fn prepare(environment: &mut Environment) {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| {
        Err::<Value, _>(
            minijinja::Error::new(ErrorKind::InvalidOperation, "").with_source(Refusal(message)),
        )
    });
    environment.add_function("strftime_now", |format: String| {
        let wrong = |error: jiff::Error| {
            minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}"))
        };
        strtime::format(&format, &ZonedDateTime::now()).map_err(wrong)
    });
}

/// What a template said by `raise_exception`.
#[derive(Debug, Error)]
#[error("{0}")]
struct Refusal(String);

/// As Python's `json.dumps` writes it, with every letter as it is.
fn to_json(value: Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let only_ascii: Option<bool> = options.get("ensure_ascii")?;
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let wrong = |reason: String| minijinja::Error::new(ErrorKind::BadSerialization, reason);
    if only_ascii == Some(true) {
        return Err(wrong("tojson: letters are never written as ensure_ascii would".into()));
    }
    let mut bytes = Vec::new();
    let written = match indent {
        Some(indent) => {
            let spaces = b" ".repeat(indent.min(LARGEST_INDENT));
            let formatter = PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced)),
    };
    written.map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

/// More spaces than this before a line of JSON are a mistake.
const LARGEST_INDENT: usize = 32;

/// JSON in one line, with a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

/// Makes of an error one with the place in it.
fn told(place: &str, error: &minijinja::Error) -> ChatError {
    let (place, line) = (place.to_owned(), error.line().unwrap_or(1));
    if let Some(Refusal(reason)) = error.source().and_then(|source| source.downcast_ref()) {
        return ChatError::Refused { place, line, reason: reason.clone() };
    }
    let kind = error.kind();
    let reason = match (kind, error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it does not come to an end".into(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    ChatError::Template { place, line, reason }
}

/// A template without `{% generation %}` and `{% endgeneration %}`, which mark the model's answers for
/// training: tags of which the blocks are always taken stand in their place.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let is_sign = |letter: char| "{%-+}".contains(letter) || letter.is_whitespace();
        let replacement = match tag.trim_matches(is_sign) {
            "generation" => "if true",
            "endgeneration" => "endif",
            word => word,
        };
        text.push_str(&match tag.trim_matches(is_sign) {
            "" => tag.to_owned(),
            word => tag.replacen(word, replacement, 1),
        });
        rest = after;
    }
    text + rest
}

/// A file's text, if it is there.
fn read(path: &Path) -> Result<Option<String>, ChatError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ChatError::File { path: path.into(), source }),
    };
    let no_text = |error| ChatError::Invalid {
        path: path.into(),
        reason: format!("it is no text in UTF-8: {error}"),
    };
    String::from_utf8(bytes).map(Some).map_err(no_text)
}

/// A file's JSON object, empty where there is no file.
fn read_object(path: &Path) -> Result<Map<String, Json>, ChatError> {
    let Some(text) = read(path)? else { return Ok(Map::new()) };
    let invalid = |error: serde_json::Error| ChatError::Invalid {
        path: path.into(),
        reason: error.to_string(),
    };
    serde_json::from_str(&text).map_err(invalid)
}

/// The special tokens among the keys of a configuration; later ones count.
fn tokens<'a>(keys: impl Iterator<Item = (&'a String, &'a Json)>) -> BTreeMap<String, String> {
    let token = |(name, value): (&String, &Json)| {
        let text = value.as_str().or_else(|| value["content"].as_str())?;
        name.ends_with("_token").then(|| (name.clone(), text.to_owned()))
    };
    keys.filter_map(token).collect()
}
