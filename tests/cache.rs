//! The key-value cache: with it and without, in whatever pieces and beside whatever neighbours, a model
//! computes the same; and it takes the bytes that the variants are said to.

mod common;

use common::devices;
use neutreno::engine::gpu::Class;
use neutreno::engine::half::{Half, Precision};
use neutreno::engine::ops::cache::{Cache, Places, Span};
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters, Tensor};
use neutreno::language::{KeyValueCache, Pass};
use neutreno::variant::ResformerKind;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};

const CONTEXT: usize = 24;
const VOCABULARY: usize = 31;

/// The four variants, and those kinds of ResFormer that keep something else.
fn variants() -> Vec<VariantConfig> {
    let of_kind = |kind| VariantConfig {
        resformer_kind: Some(kind),
        ..VariantConfig::new(Variant::Resformer)
    };
    let kinds = [ResformerKind::Sparse, ResformerKind::Learnable, ResformerKind::LearnablePlus];
    let both = VariantConfig::neutreno_resformer();
    Variant::ALL
        .map(VariantConfig::new)
        .into_iter()
        .chain([both])
        .chain(kinds.map(of_kind))
        .collect()
}

/// Each variant with keys and values of its own in each layer, with few of them, and shared ones.
fn configurations() -> Vec<LanguageModelConfig> {
    let mut configurations = Vec::new();
    for variant in variants() {
        for (kv_heads, share_keys) in [(4, 1), (1, 1), (2, 2), (4, 3)] {
            let mut config = LanguageModelConfig::new(VOCABULARY, 32, 5, 4, CONTEXT);
            (config.num_key_value_heads, config.share_keys) = (kv_heads, share_keys);
            config.variant = variant.clone();
            config.check().unwrap();
            configurations.push(config);
        }
    }
    configurations
}

fn build(config: &LanguageModelConfig, device: &Device) -> LanguageModel {
    let build = |builder: &mut _| LanguageModel::new(config, builder);
    let (model, parameters) = Parameters::build(device, 1, build);
    // Larger than a fresh model's, so that what is attended to matters.
    for (name, tensor) in parameters.iter().filter(|(name, _)| name.ends_with("proj.weight")) {
        let numbers = Key::new(2).named(name).normals(tensor.elements(), 0.0, 0.15);
        tensor.overwrite(&numbers);
    }
    model
}

fn text(seed: u64, count: usize) -> Vec<u32> {
    let numbers = Key::new(seed).uniforms(count, 0.0, VOCABULARY as f32);
    numbers.into_iter().map(|number| number as u32).collect()
}

/// The logits of what follows, without a cache.
fn expected(model: &LanguageModel, tokens: &[u32]) -> Vec<f32> {
    let ids = Ids::new(tokens.to_vec(), [1, tokens.len()]);
    model.next_logits(&ids, &[tokens.len() - 1]).to_vec().unwrap()
}

#[track_caller]
fn check_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f32, |largest, x| largest.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(error <= tolerance * largest, "{what}: {found}, not {expected}");
    }
}

#[test]
fn any_pieces_give_the_logits_of_the_whole() {
    for (name, device) in devices() {
        for config in configurations() {
            let what = format!("{} on {name}: {config:?}", config.variant.name());
            let model = build(&config, &device);
            let tokens = text(3, CONTEXT);
            for pieces in [vec![CONTEXT], vec![1; CONTEXT], vec![3, 9, 1, 1, 10]] {
                let mut cache =
                    KeyValueCache::new(&config, 1, CONTEXT, Precision::F32, &device).unwrap();
                let mut end = 0;
                for piece in pieces {
                    let next = model.extend(&mut cache, &[&tokens[end..end + piece]]);
                    assert!(!next.is_tracked());
                    end += piece;
                    let expected = expected(&model, &tokens[..end]);
                    check_near(&next.to_vec().unwrap(), &expected, 1e-5, &what);
                    assert_eq!(cache.lengths(), [end]);
                }
            }
        }
    }
}

/// Nearly the same bits, and the very same on the CPU where all new tokens together are so few that each row
/// is multiplied by itself.
#[test]
fn a_sequence_does_not_depend_on_its_neighbours() {
    for (name, device) in devices() {
        for (config, lengths) in
            configurations().into_iter().zip([[2, 11, 1, 5], [1, 3, 2, 2]].iter().cycle())
        {
            let what = format!("{} on {name}", config.variant.name());
            let model = build(&config, &device);
            let prompts = [0, 1, 2, 3].map(|index| text(4 + index as u64, lengths[index]));
            let few = name == "cpu" && lengths.iter().sum::<usize>() <= 8;
            let alone = |prompt: &[u32]| {
                let mut cache =
                    KeyValueCache::new(&config, 1, CONTEXT, Precision::F32, &device).unwrap();
                let first = model.extend(&mut cache, &[prompt]).to_vec().unwrap();
                [first, model.extend(&mut cache, &[&[9]]).to_vec().unwrap()]
            };
            let mut cache =
                KeyValueCache::new(&config, 4, CONTEXT, Precision::F32, &device).unwrap();
            let all = prompts.each_ref().map(Vec::as_slice);
            let first = model.extend(&mut cache, &all).to_vec().unwrap();
            // A sequence may rest meanwhile.
            model.extend(&mut cache, &[&[], &[7], &[], &[7, 8]]);
            cache.truncate(1, lengths[1]);
            cache.truncate(3, lengths[3]);
            let second = model.extend(&mut cache, &[&[9], &[9], &[9], &[9]]).to_vec().unwrap();
            assert_eq!(cache.lengths(), lengths.map(|length| length + 1));
            for (index, prompt) in prompts.iter().enumerate() {
                let expected = alone(prompt);
                let row = |logits: &[f32]| logits[index * VOCABULARY..][..VOCABULARY].to_vec();
                check_near(&row(&first), &expected[0], 1e-5, &what);
                check_near(&row(&second), &expected[1], 1e-5, &what);
                if few {
                    assert_eq!([row(&first), row(&second)], expected, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_formula() {
    for (name, device) in devices() {
        for config in configurations() {
            for precision in Precision::ALL {
                let before = device.memory().in_use;
                let cache = KeyValueCache::new(&config, 3, CONTEXT, precision, &device).unwrap();
                let computed = config.kv_cache_bytes_per_token_in(precision);
                assert_eq!(cache.bytes(), (3 * CONTEXT * computed) as u64, "{config:?}");
                let taken = device.memory().in_use - before;
                assert_eq!(taken, cache.bytes(), "{config:?} in {precision} on {name}");
            }
        }
    }
    // By hand, for 8 layers, against a Transformer.
    let bytes = |variant, kv_heads, share_keys| {
        let mut config = LanguageModelConfig::new(VOCABULARY, 32, 8, 4, CONTEXT);
        (config.num_key_value_heads, config.share_keys) = (kv_heads, share_keys);
        config.variant = VariantConfig::new(variant);
        config.kv_cache_bytes_per_token() as f64
    };
    let all = bytes(Variant::Transformer, 4, 1);
    for (variant, kv_heads, share_keys, ratio) in [
        (Variant::Neutreno, 4, 1, 1.0),
        (Variant::Resformer, 4, 1, 1.0),
        (Variant::Svformer, 4, 1, 9.0 / 16.0),
        (Variant::Svformer, 1, 1, 9.0 / 64.0),
        (Variant::Transformer, 4, 2, 0.5),
        (Variant::Svformer, 4, 2, 5.0 / 16.0),
        (Variant::Svformer, 1, 2, 5.0 / 64.0),
    ] {
        assert_eq!(bytes(variant, kv_heads, share_keys) / all, ratio, "{variant}");
    }
}

/// Rounded keys and values change logits by about what one part in 256, or in 2,048, of them can.
#[test]
fn half_precision_stays_near() {
    for (name, device) in devices() {
        for config in configurations() {
            let model = build(&config, &device);
            let tokens = text(3, CONTEXT);
            for (precision, tolerance) in [(Precision::Bf16, 0.04), (Precision::F16, 0.005)] {
                let mut cache =
                    KeyValueCache::new(&config, 1, CONTEXT, precision, &device).unwrap();
                model.extend(&mut cache, &[&tokens[..20]]);
                let next = model.extend(&mut cache, &[&tokens[20..]]).to_vec().unwrap();
                let expected = expected(&model, &tokens);
                let what = format!("{} in {precision} on {name}", config.variant.name());
                check_near(&next, &expected, tolerance, &what);
                assert_ne!(next, expected, "{what}: nothing was rounded");
            }
        }
    }
}

/// A single layer sees no further than its keys, so one with the last tokens alone computes the same.
#[test]
fn a_full_context_slides() {
    for (name, device) in devices() {
        let mut config = LanguageModelConfig::new(VOCABULARY, 32, 1, 4, 8);
        config.variant = VariantConfig::new(Variant::Transformer);
        let model = build(&config, &device);
        let tokens = text(3, 30);
        let mut cache = KeyValueCache::new(&config, 1, 8, Precision::F32, &device).unwrap();
        // Also where more tokens come at once than there is room for.
        for (start, end) in [(0, 6), (6, 7), (7, 8), (8, 9), (9, 20), (20, 30)] {
            let next = model.extend(&mut cache, &[&tokens[start..end]]).to_vec().unwrap();
            let last = &tokens[end - end.min(8)..end];
            let what = format!("{end} tokens on {name}");
            check_near(&next, &expected(&model, last), 2e-5, &what);
        }
    }
}

/// Every number of a format, and what lies between, as the CPU rounds it.
#[test]
fn devices_round_alike() {
    let extremes = [
        0.0,
        -0.0,
        1e-45,
        3e-8,
        5.9604645e-8,
        2.98e-8,
        8.9e-8,
        6.1e-5,
        6.103e-5,
        65504.0,
        65519.9,
        65520.0,
        1e5,
        -3e38,
        f32::MAX,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        3.3895314e38,
    ];
    let mut numbers = extremes.to_vec();
    for exponent in -30..30 {
        let size = 2_f32.powi(exponent);
        numbers.extend(Key::new(exponent as u64).uniforms(40, -size, size));
        let half = [1.0 + 1.0 / 512.0, 1.0 + 3.0 / 512.0, 1.0 + 1.0 / 4096.0, 1.0 + 3.0 / 4096.0];
        numbers.extend(half.map(|number| number * size));
    }
    for (name, device) in devices() {
        for (precision, half) in [(Precision::Bf16, Half::Bf16), (Precision::F16, Half::F16)] {
            let rows = numbers.len();
            let cache = Cache::new([1, rows, 1, 2], precision, &device);
            let pairs: Vec<f32> = numbers.iter().flat_map(|number| [*number, -number]).collect();
            let tensor = Tensor::new(&pairs, [rows, 1, 2], &device);
            let all = Span { sequence: 0, position: 0, tokens: rows };
            cache.write(&tensor, &Places::new(&[all], rows));
            let found = cache.read(0, rows).to_vec().unwrap();
            for (number, found) in pairs.iter().zip(found) {
                let expected = half.value(half.nearest_finite(*number));
                let same = expected == found || expected.is_nan() && found.is_nan();
                assert!(same, "{number} is {found} on {name}, not {expected}, in {precision}");
            }
        }
    }
}

/// Shared keys and values are learnt by all layers that use them, and computed again to the same numbers.
#[test]
fn models_that_share_keys_learn_all_parameters() {
    for (name, device) in devices() {
        for config in configurations() {
            let make = |builder: &mut _| LanguageModel::new(&config, builder);
            let (model, parameters) = Parameters::build(&device, 1, make);
            let [tokens, targets] = [3, 4].map(|seed| Ids::new(text(seed, 24), [2, 12]));
            let run = |recompute| {
                let pass = Pass { recompute, ..Pass::training(None) };
                let loss = model.loss(&tokens, &targets, &pass);
                let value = loss.to_scalar().unwrap();
                let gradients = loss.backward().unwrap();
                let missing = parameters.missing_gradients(&gradients);
                assert!(missing.is_empty(), "{name}, {config:?}: {missing:?}");
                let of = |tensor| gradients.get(tensor).unwrap().to_vec().unwrap();
                (value, parameters.iter().flat_map(|(_, tensor)| of(tensor)).collect::<Vec<_>>())
            };
            let ((loss, kept), (again, recomputed)) = (run(false), run(true));
            assert_eq!(loss, again);
            check_near(&recomputed, &kept, 1e-6, &name);
            let trace = model.trace(&tokens);
            assert_eq!(trace.layers.len(), 5);
            for (layer, traced) in trace.layers.iter().enumerate() {
                let source = &trace.layers[layer - layer % config.share_keys];
                assert_eq!(traced.key.to_vec().unwrap(), source.key.to_vec().unwrap());
            }
        }
    }
}

/// A model of so many layers, for one token on a GPU: how many dispatches it takes.
fn dispatches(config: &LanguageModelConfig, layers: usize) -> usize {
    let config = LanguageModelConfig { num_hidden_layers: layers, ..config.clone() };
    let device = Device::plan_for_gpu(Class::HARDWARE);
    let model = build(&config, &device);
    let mut cache = KeyValueCache::new(&config, 1, CONTEXT, Precision::F32, &device).unwrap();
    model.extend(&mut cache, &[&[1]]);
    device.planned_dispatches();
    model.extend(&mut cache, &[&[2]]);
    device.planned_dispatches().len()
}

/// On a GPU small steps take as long as their dispatches: a layer has seven, and what mixes values or keeps
/// them faithful at most three more.
#[test]
fn a_token_takes_few_dispatches() {
    let of_a_layer = |variant: VariantConfig| {
        let mut config = LanguageModelConfig::new(VOCABULARY, 32, 5, 4, CONTEXT);
        config.variant = variant;
        let [few, many] = [5, 9].map(|layers| dispatches(&config, layers));
        (many - few) as f64 / 4.0
    };
    let found = Variant::ALL.map(|variant| of_a_layer(VariantConfig::new(variant)));
    assert_eq!(found, [7.0, 8.0, 10.0, 7.0], "{:?}", Variant::ALL);
}
