//! A chat: what was said so far goes through the template, and the model goes on from there.

use crate::arguments::{WhenFullName, describe};
use crate::common::program::Result;
use crate::common::progress::Progress;
use crate::common::show;
use crate::lines::Lines;
use crate::session::{Session, Told};
use crate::writing::Speed;
use neutreno::data::{ChatTemplate, Message};
use neutreno::engine::random::Key;
use neutreno::language::{Generation, GenerationSettings};
use neutreno::open::Source;
use neutreno::report::thousands;

/// The template of the only model.
///
/// # Errors
/// If there are several models, or there is no template, or it has a fault.
pub fn template(models: &[Source]) -> Result<ChatTemplate> {
    let [found] = models else {
        let names: Vec<&str> = models.iter().map(|found| found.name.as_str()).collect();
        return Err(format!(
            "--chat talks with one model, and there are {}: choose one with --variant",
            names.join(", ")
        )
        .into());
    };
    let template = ChatTemplate::load(&found.folder)?;
    template.ok_or_else(|| {
        format!(
            "{} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): \
             it was not taught to chat; without --chat it goes on with a text",
            found.folder.display()
        )
        .into()
    })
}

/// Tokens of the largest cache that is made for a chat when nobody says how large.
const USUAL_CONTEXT: usize = 8192;
/// Tokens of the longest answer where nobody says.
const USUAL_TOKENS: usize = 1000;

/// Talks until there is no more to answer.
///
/// # Errors
/// If the template does not take what was said, the device fails, or Ctrl-C came between answers; on
/// a pipe also if the context is full.
pub fn chat(session: &Session, template: &ChatTemplate, progress: &Progress) -> Result<()> {
    let mut settings = session.settings(USUAL_TOKENS)?;
    let end = template.special_token("eos_token").and_then(|token| session.tokenizer.id_of(token));
    settings.end_tokens.extend(end.filter(|end| !settings.end_tokens.contains(end)));
    if settings.end_tokens.is_empty() {
        progress.line("  no end token is known: answers end after --tokens");
    }
    let context = session.longest_context()?.min(USUAL_CONTEXT);
    let context = session.arguments.cache.context.unwrap_or(context);
    progress.line(&format!(
        "  {}, seed {}; a cache for {} tokens",
        describe(&settings.sampling),
        session.arguments.writing.seed,
        thousands(context as u64)
    ));
    let key = Key::new(session.arguments.writing.seed).fold(0);
    let generation = session.begin(vec![key], context, &settings)?;
    let mut lines = Lines::open()?;
    if lines.is_terminal() {
        progress.line("  Ctrl-C ends an answer, Ctrl-D the chat; /new begins a new one");
    }
    let mut chat = Chat {
        session,
        template,
        settings,
        generation,
        messages: Vec::new(),
        answers: 0,
        progress,
    };
    chat.renew();
    let mut speed = Speed::default();
    while let Some(line) = lines.next()? {
        match line.trim() {
            "" => continue,
            "/new" => {
                chat.renew();
                progress.line("a new chat");
                continue;
            }
            said => match chat.answer(said)? {
                Ok(of_answer) => speed.add(&of_answer),
                Err(problem) if lines.is_terminal() => progress.line(&problem),
                Err(problem) => return Err(problem.into()),
            },
        }
    }
    session.report(&speed, chat.generation.cache(), progress);
    Ok(())
}

struct Chat<'a> {
    session: &'a Session<'a>,
    template: &'a ChatTemplate,
    settings: GenerationSettings,
    generation: Generation<'a>,
    messages: Vec<Message>,
    answers: usize,
    progress: &'a Progress,
}

impl Chat<'_> {
    /// Forgets what was said.
    fn renew(&mut self) {
        let system = self.session.arguments.prompts.system.as_deref();
        self.messages = system.map(|text| Message::new("system", text)).into_iter().collect();
    }

    /// Answers. What makes an answer impossible but leaves the chat as it was is a text.
    fn answer(&mut self, said: &str) -> Result<std::result::Result<Speed, String>> {
        self.messages.push(Message::new("user", said));
        let tokens = match self.tokens()? {
            Ok(tokens) => tokens,
            Err(problem) => {
                self.messages.pop();
                return Ok(Err(problem));
            }
        };
        self.generation.replace(0, &tokens);
        let json = self.session.arguments.json;
        let show = |_: usize, piece: &str| json || show::piece(piece);
        let (mut written, speed) = self.session.write(&mut self.generation, &show)?;
        let Some(written) = written.pop() else { return Ok(Ok(speed)) };
        if !json {
            show::piece("\n");
        }
        match written.ended {
            "tokens" => self.progress.line(&format!(
                "(the answer was ended after {} tokens: --tokens)",
                self.settings.tokens
            )),
            "interrupted" => self.progress.line("(interrupted)"),
            _ => self.session.tell_end("", &written, self.generation.cache(), 0, self.progress),
        }
        self.answers += 1;
        if json {
            let told = Told {
                prompt: said,
                prompt_ids: &tokens,
                written: &written,
                number: self.answers,
                speed: &speed,
            };
            show::json(&self.session.json(&told, &self.settings, self.generation.cache()));
        }
        self.messages.push(Message::new("assistant", &written.text));
        Ok(Ok(speed))
    }

    /// The tokens of all that was said, without its oldest messages if they would not fit.
    fn tokens(&mut self) -> Result<std::result::Result<Vec<u32>, String>> {
        let context = self.generation.cache().context();
        let slides = self.session.arguments.cache.when_full == WhenFullName::Slide;
        // Where the oldest are left out, so many are that an answer has room.
        let room = if slides { context - context / 4 } else { context };
        let mut messages = self.messages.clone();
        let mut left_out = 0;
        loop {
            let text = self.template.render(&messages)?;
            let tokens = self.session.tokenizer.encode(&text, false)?;
            let fits = tokens.len() <= if left_out > 0 { room } else { context };
            if fits && !tokens.is_empty() {
                if left_out > 0 {
                    self.progress.line(&format!(
                        "(the context of {context} tokens is full: the oldest {left_out} messages are left \
                         out from here on)"
                    ));
                    self.messages = messages;
                }
                return Ok(Ok(tokens));
            }
            if tokens.is_empty() {
                return Err("the chat template makes no text of what was said".into());
            }
            let system = messages.iter().take_while(|message| message.role == "system").count();
            if !slides || messages.len() < system + 3 {
                let advice = match messages.len() > system + 1 {
                    true if slides => "",
                    true => {
                        "; /new begins a new chat, --when-full slide leaves out the oldest messages"
                    }
                    false => "",
                };
                return Ok(Err(format!(
                    "what was said has {} tokens, and the context room for {context}{advice}",
                    thousands(tokens.len() as u64)
                )));
            }
            messages.drain(system..system + 2);
            left_out += 2;
        }
    }
}
