//! Templates of chats, against what `transformers` makes of them (`tests/fixtures/README.md`), and what
//! is wrong with a template or its file.

use neutreno::data::{ChatError, ChatTemplate, Message};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.join(name), text).unwrap();
}

fn load(folder: &Path) -> Result<ChatTemplate, ChatError> {
    ChatTemplate::load(folder).map(|template| template.expect("a template"))
}

fn messages(chat: &Value) -> Vec<Message> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let message = |one: &Value| Message::new(&text(&one["role"]), &text(&one["content"]));
    chat.as_array().unwrap().iter().map(message).collect()
}

#[test]
fn chats_become_what_transformers_makes_of_them() {
    let text = include_str!("fixtures/chat_templates.json");
    let fixture: Value = serde_json::from_str(text).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!((cases.len(), fixture["templates"].as_object().unwrap().len()), (12, 4));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "tokenizer_config.json", fixture["special_tokens"].to_string());
    for case in cases {
        let [style, chat] = ["style", "chat"].map(|key| case[key].as_str().unwrap());
        write(folder, "chat_template.jinja", fixture["templates"][style].as_str().unwrap());
        let got = load(folder).unwrap().render(&messages(&fixture["chats"][chat]));
        match case["text"].as_str() {
            Some(expected) => assert_eq!(got.unwrap(), expected, "{style}, {chat}"),
            None => {
                let Err(ChatError::Refused { reason, line: 3, .. }) = got else {
                    panic!("{style}, {chat}: {got:?}")
                };
                assert_eq!(reason, case["refused"].as_str().unwrap());
            }
        }
    }
}

#[test]
fn the_template_is_found_where_folders_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let hi = [Message::new("user", "Hi")];
    assert!(ChatTemplate::load(folder).unwrap().is_none());
    for none in [json!({}), json!({"chat_template": null})] {
        write(folder, "tokenizer_config.json", none.to_string());
        assert!(ChatTemplate::load(folder).unwrap().is_none());
    }
    let config = json!({"chat_template": [
        {"name": "tools", "template": "no"},
        {"name": "default", "template": "{{ bos_token }}{{ eos_token }}{{ messages[0].content }}"}
    ], "eos_token": {"content": "</s>", "lstrip": false}});
    write(folder, "tokenizer_config.json", config.to_string());
    assert_eq!(load(folder).unwrap().render(&hi).unwrap(), "</s>Hi");
    let more = json!({"bos_token": "<s>", "eos_token": "<other>"});
    write(folder, "special_tokens_map.json", more.to_string());
    let template = load(folder).unwrap();
    assert_eq!(template.render(&hi).unwrap(), "<s></s>Hi");
    assert_eq!(template.special_token("bos_token"), Some("<s>"));
    // A file of its own counts before the others.
    write(folder, "chat_template.jinja", "{{ bos_token }}\n");
    assert_eq!(load(folder).unwrap().render(&hi).unwrap(), "<s>");
}

#[test]
fn faults_are_told_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let hi = [Message::new("user", "Hi")];
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    let grows = "{% set ns = namespace(x='ab') %}{% for a in range(60) %}\
                 {% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(9000), ")".repeat(9000));
    for (template, words) in [
        ("a\n{% if %}", "chat_template.jinja, line 2: syntax error: unexpected end of block"),
        ("a\nb\n{{ messages[0].content | shout }}", "line 3: unknown filter: filter shout"),
        ("{{ messages[0].content.shout() }}", "line 1: unknown method"),
        ("{{ nowhere.content }}", "line 1: undefined value"),
        ("{{ strftime_now('%!') }}", "line 1: invalid operation: strftime_now: "),
        ("{{ [1] | tojson(ensure_ascii=true) }}", "tojson: letters are never written"),
        ("{{ [1] | tojson(sort=1) }}", "line 1: too many arguments"),
        ("\n{{ raise_exception('No.') }}", "line 2: the template does not take this chat: No."),
        ("{% include 'other' %}", "line 1: template not found"),
        (endless, "line 1: it does not come to an end"),
        (grows, "line 1: it does not come to an end"),
        (&deep, "line 1: syntax error"),
    ] {
        write(folder, "chat_template.jinja", template);
        let error = load(folder).and_then(|template| template.render(&hi)).unwrap_err().to_string();
        assert!(error.contains(words), "{template:.90}: {error}");
        assert!(error.starts_with(&*folder.to_string_lossy()), "{error}");
    }
}

#[test]
fn files_that_hold_no_template_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let default = json!({"chat_template": [{"name": "tools", "template": "x"}]}).to_string();
    let number = json!({"chat_template": 7}).to_string();
    let fault = json!({"chat_template": "\n{% x %}"}).to_string();
    for (config, words) in [
        ("{", "tokenizer_config.json: EOF"),
        ("[]", "tokenizer_config.json: invalid type"),
        (&default, "tokenizer_config.json: chat_template has several templates, and none that is"),
        (&number, "chat_template must be a template, or a list of named ones"),
        (&fault, "tokenizer_config.json, chat_template, line 2: syntax error: unknown statement x"),
    ] {
        write(folder, "tokenizer_config.json", config);
        let error = load(folder).unwrap_err().to_string();
        assert!(error.contains(words), "{config}: {error}");
    }
    fs::remove_file(folder.join("tokenizer_config.json")).unwrap();
    write(folder, "chat_template.jinja", [0x61, 0xff]);
    assert!(load(folder).unwrap_err().to_string().contains("chat_template.jinja: it is no text"));
    fs::remove_file(folder.join("chat_template.jinja")).unwrap();
    fs::create_dir(folder.join("chat_template.jinja")).unwrap();
    assert!(load(folder).unwrap_err().to_string().contains("cannot read"));
}
