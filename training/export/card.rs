//! A model's card, `README.md`: what it is, what it was trained on, and what came out.

use crate::language::LanguageModelConfig;
use crate::measure::{MEASUREMENTS, Measured};
use crate::open::OfRun;
use crate::report::{label, thousands};
use crate::run::{FILES, MEASURED, Metric, Values, read_metrics};
use crate::variant::{Variant, VariantConfig};
use crate::vision::VisionConfig;
use serde_json::Value;
use std::fmt::Write;

/// What a card says first: of which kind the model is, and how it is used.
pub(super) struct About {
    /// What the Hub calls what it does.
    pub task: &'static str,
    /// A sentence or more.
    pub introduction: String,
    /// Names and values.
    pub sizes: Vec<(&'static str, String)>,
    /// A few lines of Python.
    pub usage: String,
}

impl About {
    pub fn language_model(config: &LanguageModelConfig, weights: &str, tokenizer: &str) -> About {
        let trust = trust(false, &config.variant);
        let kind = match config.variant.variant {
            Variant::Transformer => "a Llama".to_owned(),
            _ => format!("Llama blocks, with the attention of {}", label(&config.variant.name())),
        };
        About {
            task: "text-generation",
            introduction: format!(
                "A language model: {kind}.\n\n{}",
                formula(&config.variant, "Llama", false)
            ),
            sizes: vec![
                ("layers", config.num_hidden_layers.to_string()),
                ("width", config.hidden_size.to_string()),
                (
                    "heads",
                    format!(
                        "{}, {} for keys",
                        config.num_attention_heads, config.num_key_value_heads
                    ),
                ),
                ("longest context", format!("{} tokens", config.max_position_embeddings)),
                ("tokens", format!("{} ({tokenizer})", thousands(config.vocab_size as u64))),
                ("weights", weights.to_owned()),
            ],
            usage: format!(
                "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
                 tokenizer = AutoTokenizer.from_pretrained(folder)\n\
                 model = AutoModelForCausalLM.from_pretrained(folder{trust})\n\
                 inputs = tokenizer(\"Once\", return_tensors=\"pt\")\n\
                 print(tokenizer.decode(model.generate(**inputs)[0]))\n"
            ),
        }
    }
}

impl About {
    pub fn classifier(config: &VisionConfig, weights: &str) -> About {
        let trust = trust(!config.class_token, &config.variant);
        let kind = match (config.variant.variant, config.class_token) {
            (Variant::Transformer, true) => "a ViT".to_owned(),
            (Variant::Transformer, false) => "a ViT that reads the mean of its tokens".to_owned(),
            _ => format!("a ViT with the attention of {}", label(&config.variant.name())),
        };
        let own = match config.class_token {
            true => String::new(),
            false => "It has no class token: what is classified is the mean of all tokens. ".into(),
        };
        let (height, width) = (config.image_size.height(), config.image_size.width());
        let names: Vec<&str> = config.id2label.values().map(String::as_str).collect();
        About {
            task: "image-classification",
            introduction: format!(
                "A classifier of images: {kind}. {own}\n\n{}",
                formula(&config.variant, "ViT", !config.class_token)
            ),
            sizes: vec![
                ("layers", config.num_hidden_layers.to_string()),
                ("width", config.hidden_size.to_string()),
                ("heads", config.num_attention_heads.to_string()),
                ("images", format!("{height} × {width} pixels, {} channels", config.num_channels)),
                ("patches", format!("{0} × {0} pixels", config.patch_size)),
                ("classes", format!("{}: {}", names.len(), some(&names))),
                ("weights", weights.to_owned()),
            ],
            usage: format!(
                "from PIL import Image\n\
                 from transformers import AutoImageProcessor, AutoModelForImageClassification\n\n\
                 processor = AutoImageProcessor.from_pretrained(folder)\n\
                 model = AutoModelForImageClassification.from_pretrained(folder{trust})\n\
                 image = Image.open(\"picture.png\").convert(\"{}\")\n\
                 inputs = processor(image, return_tensors=\"pt\")\n\
                 print(model.config.id2label[model(**inputs).logits.argmax().item()])\n",
                if config.num_channels == 1 { "L" } else { "RGB" }
            ),
        }
    }
}

/// The first few of a list.
fn some(names: &[&str]) -> String {
    const MOST: usize = 20;
    let more = if names.len() > MOST { ", …" } else { "" };
    names[..names.len().min(MOST)].join(", ") + more
}

/// How the load of a model is told that it may run the Python file beside it.
fn trust(differs: bool, variant: &VariantConfig) -> &'static str {
    let plain = variant.variant == Variant::Transformer && !differs;
    if plain { "" } else { ", trust_remote_code=True" }
}

/// What the variant computes.
fn formula(variant: &VariantConfig, plain: &str, differs: bool) -> String {
    let code =
        "`modeling_neutreno.py` computes that; loading without `trust_remote_code=True` fails.";
    let what = match variant.variant {
        Variant::Transformer if differs => {
            return format!("Apart from that it is a {plain}. {code}");
        }
        Variant::Transformer => {
            return format!(
                "It is a plain Transformer, which every program that knows {plain} computes."
            );
        }
        Variant::Neutreno => "a = 1, b = 0, c = λ ([NeuTRENO](https://arxiv.org/abs/2312.00751))",
        Variant::Resformer if variant.resformer_coefficients.is_some() => {
            "[a, b, c] are given for each of these layers"
        }
        Variant::Resformer => {
            "a = λ₂, b = λ₁, c = 0 ([ResFormer](https://arxiv.org/abs/2410.17897))"
        }
        Variant::Svformer => "a = 0, b = 1, c = 0 ([SVFormer](https://arxiv.org/abs/2410.17897))",
    };
    let constants = Values::of(variant);
    let constants = constants.iter().filter(|(name, _)| *name != "variant");
    let constants = constants.map(|(name, value)| format!("{name} {}", short(value)));
    let constants: Vec<String> = constants.collect();
    let constants = match constants.is_empty() {
        true => String::new(),
        false => format!(", with {}", constants.join(", ")),
    };
    format!(
        "In each layer after the first, attention gives P·(a·V + b·V₁) + c·(V₁ − V), where V₁ is the \
         value of the first layer: {what}{constants}. {code}"
    )
}

/// The whole text.
pub(super) fn card(name: &str, about: &About, of_run: Option<&OfRun>) -> String {
    let About { task, introduction, sizes, usage } = about;
    let mut text = format!(
        "---\nlibrary_name: transformers\npipeline_tag: {task}\n\
         # Before this is published: which licence does it have, and what does that of its data say?\n\
         # license: ...\n---\n\n# {}\n\n{introduction}\n\n",
        plain(name)
    );
    text +=
        &table(["size", ""], sizes.iter().map(|(name, value)| [(*name).to_owned(), plain(value)]));
    write!(text, "## Use\n\n```python\n{usage}```\n\n").expect("a text takes everything");
    if let Some(of_run) = of_run {
        text += &training(of_run);
        text += &scores(of_run);
        text += &measurements(of_run);
    }
    text += "## Licence\n\nNone was chosen yet. That is for whoever publishes the model to do, after a \
             look at the licence of what it was trained on.\n";
    text
}

/// What it was trained on, and how.
fn training(of_run: &OfRun) -> String {
    let mut rows = Vec::new();
    if let Some(data) = of_run.data() {
        // Where it was is nobody else's business.
        rows.push(["data".to_owned(), plain(&data.name)]);
        rows.extend(data.hashes.iter().map(|(part, hash)| {
            [format!("hash of the {} data", plain(part)), format!("`{}`", plain(hash))]
        }));
    }
    if of_run.task() == "image-classification" {
        let how = "cropped here, where the processor that comes with this stretches them";
        rows.push(["pictures of another shape".to_owned(), how.to_owned()]);
    }
    let steps = of_run.weights.step;
    let so_far = match (of_run.model.finished, of_run.weights.of_checkpoint()) {
        (false, _) => " (training had not come to its end)",
        (true, true) => " (an earlier checkpoint of a longer training)",
        (true, false) => "",
    };
    rows.push(["steps".to_owned(), format!("{}{so_far}", thousands(steps))]);
    rows.push(["seed".to_owned(), of_run.model.seed.to_string()]);
    let settings = of_run.facts["settings"].as_object().into_iter().flatten();
    let is_said = |value: &Value| !value.is_null() && !value.is_object();
    let settings = settings.filter(|(name, value)| *name != "steps" && is_said(value));
    rows.extend(settings.map(|(name, value)| [words(name), plain(&short(value))]));
    format!("## Training\n\n{}", table(["setting", ""], rows.into_iter()))
}

/// What came out.
fn scores(of_run: &OfRun) -> String {
    if of_run.model.finished && of_run.weights.of_checkpoint() {
        // What came out at the end is of other weights.
        let metrics = read_metrics(&of_run.model.folder.metrics_jsonl()).unwrap_or_default();
        let then = metrics.into_iter().find(|metric| metric.step == of_run.weights.step);
        let rows = then.iter().flat_map(|metric| metric.values.iter());
        let rows = rows.filter(|(name, _)| *name != MEASURED);
        let rows = rows.map(|(name, value)| [words(name), plain(&short(value))]);
        return format!("## Results\n\n{}", table(["while training", ""], rows));
    }
    let Some(result) = of_run.result() else { return String::new() };
    let first = [
        ["training loss".to_owned(), number(result.train_loss)],
        ["parameters".to_owned(), thousands(result.parameters)],
    ];
    let rest = result.results.iter().filter(|(name, _)| *name != FILES);
    let rest = rest.map(|(name, value)| [words(name), plain(&short(value))]);
    format!("## Results\n\n{}", table(["result", ""], first.into_iter().chain(rest)))
}

/// What was measured inside it, layer by layer.
fn measurements(of_run: &OfRun) -> String {
    let metrics = read_metrics(&of_run.model.folder.metrics_jsonl()).unwrap_or_default();
    let measured = |metric: &Metric| {
        let by_then = metric.step <= of_run.weights.step;
        Some((metric.step, metric.values.get(MEASURED).filter(|_| by_then)?.clone()))
    };
    let Some((step, measured)) = metrics.iter().rev().find_map(measured) else {
        return String::new();
    };
    let measured = Measured::from_json(&measured);
    let row = |measurement: &crate::measure::Measurement| {
        let numbers: Vec<String> =
            measured.get(measurement.name)?.iter().map(|x| number(*x)).collect();
        Some([measurement.title.to_owned(), numbers.join(", ")])
    };
    format!(
        "## What its layers compute\n\nMeasured after {} steps, layer by layer; what has a number more \
         begins with the embedding.\n\n{}",
        thousands(step),
        table(["measurement", "layers"], MEASUREMENTS.iter().filter_map(row))
    )
}

fn table(head: [&str; 2], rows: impl Iterator<Item = [String; 2]>) -> String {
    let rows = rows.map(|[name, value]| format!("| {name} | {value} |\n"));
    format!("| {} | {} |\n|---|---|\n{}\n", head[0], head[1], rows.collect::<String>())
}

/// A text in one line, in which nothing acts as Markdown or HTML.
fn plain(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().fold(String::new(), |mut text, letter| {
        if r"\`*_{}[]<>#|~&".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
        text
    })
}

/// A name of a file's key, in words.
fn words(name: &str) -> String {
    plain(&name.replace('_', " "))
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(given) => match (given.as_u64(), given.as_f64()) {
            (Some(whole), _) => thousands(whole),
            (None, Some(float)) => number(float),
            (None, None) => given.to_string(),
        },
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Four digits of a number.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => value.to_string(),
        _ if size >= 1000.0 => format!("{value:.0}"),
        _ if size >= 0.001 || size == 0.0 => {
            let digits = 3 - size.max(0.001).log10().floor() as i32;
            let text = format!("{value:.*}", digits.clamp(0, 6) as usize);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            if text.is_empty() { "0".into() } else { text.to_owned() }
        }
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (value, expected) in [
            (4.238401846387137, "4.238"),
            (69.297, "69.3"),
            (0.0, "0"),
            (1.0, "1"),
            (-0.25, "-0.25"),
            (0.001, "0.001"),
            (0.1 + 0.2, "0.3"),
            (1e-5, "1.000e-5"),
            (123_456.7, "123457"),
            (10.0, "10"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn constants_stand_as_they_were_given() {
        let text = formula(&VariantConfig::new(Variant::Neutreno), "Llama", false);
        assert!(text.contains("with neutreno_lambda 0.4. `modeling"), "{text}");
    }

    #[test]
    fn names_of_data_do_not_act_as_markdown() {
        let name = "my | <b>data</b>\n# `x` [a](b)";
        assert_eq!(plain(name), r"my \| \<b\>data\</b\> \# \`x\` \[a\](b)");
        assert_eq!(words("test_loss"), "test loss");
        assert_eq!(
            short(&serde_json::json!([0.9, 0.95, 1200, "cosine"])),
            "0.9, 0.95, 1,200, cosine"
        );
    }
}
