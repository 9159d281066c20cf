//! The flags that say which variants to train, with which constants.

use super::arguments::number;
use clap::builder::{EnumValueParser, PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Args, Command, ValueEnum};
use neutreno::{ResformerKind, Variant, VariantConfig};
use std::ffi::OsStr;

/// What to train.
#[derive(Debug, Args)]
pub struct What {
    /// What to train: one or several, separated by commas. Constants may follow, so that one run has a
    /// variant with several: neutreno:LAMBDA, resformer:KIND:LAMBDA:LAYER+LAYER,
    /// neutreno+resformer:LAMBDA:KIND, as in neutreno:0.2,neutreno:0.4,resformer:sparse
    #[arg(long, value_parser = ChoiceParser, action = ArgAction::Set, value_delimiter = ',', default_value = "all", help_heading = "What")]
    pub variant: Vec<Choice>,
    /// NeuTRENO's λ, the strength of its term λ(V₁ − V), where --variant does not say it [default: 0.4
    /// for text, 0.6 for images; 0.1 beside ResFormer]
    #[arg(long, value_parser = lambda, value_name = "LAMBDA", help_heading = "What")]
    pub neutreno_lambda: Option<f32>,
    /// How ResFormer mixes the first layer's value with its own, where --variant does not say it
    #[arg(long, value_enum, help_heading = "What")]
    pub resformer_kind: Option<KindName>,
    /// The coefficient of the first value, for the kinds constant and sparse [default: 2 and 5]
    #[arg(long, value_parser = lambda, value_name = "LAMBDA", help_heading = "What")]
    pub resformer_lambda: Option<f32>,
    /// The layers that mix, from 0, for the kind sparse [default: the last three eighths]
    #[arg(long, value_name = "LAYER,...", action = ArgAction::Set, value_delimiter = ',', help_heading = "What")]
    pub resformer_layers: Option<Vec<usize>>,
}

/// A variant as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VariantName {
    /// All four
    All,
    /// Plain attention
    Transformer,
    /// Adds λ(V₁ − V), against over-smoothing
    Neutreno,
    /// Attends to a mix of the first layer's value and its own
    Resformer,
    /// Attends to the first layer's value alone
    Svformer,
    /// Both NeuTRENO's term and ResFormer's mix
    #[value(name = "neutreno+resformer")]
    NeutrenoResformer,
}

/// A kind of ResFormer as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// ½ and ½
    Identity,
    /// a fixed coefficient of the first value
    Constant,
    /// the same on some layers only
    Sparse,
    /// both factors learned, layer by layer
    Learnable,
    /// the layers' factors are learned shares of a learned total
    LearnablePlus,
}

impl From<KindName> for ResformerKind {
    fn from(name: KindName) -> ResformerKind {
        match name {
            KindName::Identity => ResformerKind::Identity,
            KindName::Constant => ResformerKind::Constant,
            KindName::Sparse => ResformerKind::Sparse,
            KindName::Learnable => ResformerKind::Learnable,
            KindName::LearnablePlus => ResformerKind::LearnablePlus,
        }
    }
}

/// A variant with those constants that were typed with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    name: VariantName,
    neutreno_lambda: Option<f32>,
    kind: Option<KindName>,
    resformer_lambda: Option<f32>,
    layers: Option<Vec<usize>>,
}

impl From<VariantName> for Choice {
    fn from(name: VariantName) -> Choice {
        Choice { name, neutreno_lambda: None, kind: None, resformer_lambda: None, layers: None }
    }
}

impl Choice {
    /// Reads what follows the name, such as `sparse:5:6+7`.
    fn new(name: VariantName, constants: &str) -> Result<Choice, String> {
        let mut choice = Choice::from(name);
        let mut parts = constants.split(':').peekable();
        if matches!(name, VariantName::Neutreno | VariantName::NeutrenoResformer) {
            choice.neutreno_lambda =
                parts.next_if(|text| is_number(text)).map(lambda).transpose()?;
        }
        if matches!(name, VariantName::Resformer | VariantName::NeutrenoResformer) {
            let kind = parts.peek().map(|text| KindName::from_str(text, false));
            choice.kind = kind.and_then(Result::ok);
            choice.kind.and_then(|_| parts.next());
        }
        if matches!(choice.kind, Some(KindName::Constant | KindName::Sparse)) {
            choice.resformer_lambda = parts.next().map(lambda).transpose()?;
        }
        if choice.kind == Some(KindName::Sparse) {
            let layers = |text: &str| text.split('+').map(number).collect();
            choice.layers = parts.next().map(layers).transpose()?;
        }
        match parts.next() {
            None => Ok(choice),
            Some(other) => Err(format!("\"{other}\" is out of place: {}", takes(name))),
        }
    }

    /// The variants that are meant, with what `new` gives them and what was typed with them.
    fn configs(&self, new: impl Fn(Variant) -> VariantConfig) -> Vec<VariantConfig> {
        let mut configs = match self.name {
            VariantName::All => return Variant::ALL.map(new).to_vec(),
            VariantName::Transformer => vec![new(Variant::Transformer)],
            VariantName::Neutreno => vec![new(Variant::Neutreno)],
            VariantName::Resformer => vec![new(Variant::Resformer)],
            VariantName::Svformer => vec![new(Variant::Svformer)],
            VariantName::NeutrenoResformer => vec![VariantConfig::neutreno_resformer()],
        };
        for config in &mut configs {
            config.neutreno_lambda = self.neutreno_lambda.or(config.neutreno_lambda);
            config.resformer_kind = self.kind.map(Into::into).or(config.resformer_kind);
            config.resformer_lambda = self.resformer_lambda;
            config.resformer_layers = self.layers.clone();
            config.constants_in_name = self.neutreno_lambda.is_some()
                || self.resformer_lambda.is_some()
                || self.layers.is_some();
        }
        configs
    }
}

/// Which constants may follow a name.
fn takes(name: VariantName) -> &'static str {
    match name {
        VariantName::All | VariantName::Transformer | VariantName::Svformer => {
            "no constants follow this name"
        }
        VariantName::Neutreno => "λ follows this name, one number, as in neutreno:0.2",
        VariantName::Resformer => {
            "a kind follows this name (identity, constant, sparse, learnable, learnable-plus), then λ₁ \
             of constant and sparse, then the layers of sparse, as in resformer:sparse:5:6+7"
        }
        VariantName::NeutrenoResformer => {
            "λ may follow this name, then a kind with its constants, as in \
             neutreno+resformer:0.1:sparse:5"
        }
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f32>().is_ok()
}

/// A constant. A list of them is many variants.
fn lambda(text: &str) -> Result<f32, String> {
    if text.contains(',') {
        return Err(
            "one number is taken here. For several in one run, type them with the variant: \
                    --variant neutreno:0.2,neutreno:0.4"
                .into(),
        );
    }
    number(text)
}

/// Reads a [`Choice`], and knows the names for the help.
#[derive(Clone, Debug)]
pub struct ChoiceParser;

impl TypedValueParser for ChoiceParser {
    type Value = Choice;

    fn parse_ref(
        &self,
        command: &Command,
        flag: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Choice, clap::Error> {
        let text = value.to_string_lossy();
        let (name, constants) = match text.split_once(':') {
            Some((name, constants)) => (name, Some(constants)),
            None => (&*text, None),
        };
        let names = EnumValueParser::<VariantName>::new();
        let name = names.parse_ref(command, flag, name.as_ref())?;
        let Some(constants) = constants.map(str::to_owned) else { return Ok(name.into()) };
        let read = move |_: String| Choice::new(name, &constants);
        StringValueParser::new().try_map(read).parse_ref(command, flag, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            VariantName::value_variants().iter().filter_map(ValueEnum::to_possible_value),
        ))
    }
}

impl What {
    /// The variants asked for, each once, for a model of so many layers. `new` gives each its
    /// usual constants.
    ///
    /// # Errors
    /// A flag that none of them uses, or that does not fit; one model under two names.
    pub fn variants(
        &self,
        layers: usize,
        new: impl Fn(Variant) -> VariantConfig,
    ) -> Result<Vec<VariantConfig>, String> {
        let mut used = [false; 4];
        let mut variants: Vec<VariantConfig> = Vec::new();
        for choice in &self.variant {
            for mut variant in choice.configs(&new) {
                self.apply_constants(choice, &mut variant, &mut used);
                variant.check(layers).map_err(|problem| flags(&problem))?;
                match variants.iter().find(|other| other.is_same(&variant, layers)) {
                    None => variants.push(variant),
                    Some(other) if *other == variant => {}
                    Some(other) => {
                        return Err(format!(
                            "--variant: {} and {} are the same model; leave out one of them",
                            other.name(),
                            variant.name()
                        ));
                    }
                }
            }
        }
        let given = [
            ("--neutreno-lambda", self.neutreno_lambda.is_some()),
            ("--resformer-kind", self.resformer_kind.is_some()),
            ("--resformer-lambda", self.resformer_lambda.is_some()),
            ("--resformer-layers", self.resformer_layers.is_some()),
        ];
        for ((flag, given), used) in given.into_iter().zip(used) {
            if given && !used {
                return Err(format!(
                    "{flag} has no effect on the variants and kind chosen (--variant, \
                     --resformer-kind)"
                ));
            }
        }
        Ok(variants)
    }

    /// Sets those of the constants that this variant uses and was not typed with, and marks which
    /// flags those were.
    fn apply_constants(&self, choice: &Choice, config: &mut VariantConfig, used: &mut [bool; 4]) {
        if config.neutreno_lambda.is_some() && choice.neutreno_lambda.is_none() {
            config.neutreno_lambda = self.neutreno_lambda.or(config.neutreno_lambda);
            used[0] = true;
        }
        if config.variant != Variant::Resformer {
            return;
        }
        if choice.kind.is_none() {
            config.resformer_kind = self.resformer_kind.map(Into::into).or(config.resformer_kind);
            used[1] = true;
        }
        let kind = config.resformer_kind;
        let fixed = matches!(kind, Some(ResformerKind::Constant | ResformerKind::Sparse));
        if fixed && choice.resformer_lambda.is_none() {
            config.resformer_lambda = self.resformer_lambda;
            used[2] = true;
        }
        if kind == Some(ResformerKind::Sparse) && choice.layers.is_none() {
            config.resformer_layers = self.resformer_layers.clone();
            used[3] = true;
        }
    }
}

/// A message about keys of a configuration, told by the names of the flags that set them.
fn flags(problem: &str) -> String {
    ["neutreno_lambda", "resformer_kind", "resformer_lambda", "resformer_layers"]
        .iter()
        .fold(problem.into(), |text: String, key| {
            text.replace(key, &format!("--{}", key.replace('_', "-")))
        })
}
