"""Has transformers load what was exported (tests/export.rs, image_exchange.rs), and saves models to be loaded there.

    python exchange.py FOLDER

In FOLDER are models/ (exported, each with expected.json) and trained/ and runs/ (as training leaves
them), and the same of classifiers with image- before it. saved/ and image-saved/ are made. Everything is
compared; the first difference ends it with an error.
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)

TOLERANCE = 1e-4


def read(path):
    return json.loads(path.read_text())


def cache_of(output):
    """Version 5 has another name for it."""
    return getattr(output, "cache", None) or output.past_key_values


def cache_bytes(model, inputs):
    """The bytes that are kept for each token of each sequence."""
    cache = cache_of(model(inputs, use_cache=True))
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
    return total / inputs.numel()


def generate(model, inputs, count, **more):
    output = model.generate(
        inputs, max_new_tokens=count, do_sample=False, pad_token_id=0, max_length=None, **more
    )
    return output[:, -count:].tolist()


def load(folder, kind=AutoModelForCausalLM, **more):
    trust = {"trust_remote_code": True} if "auto_map" in read(folder / "config.json") else {}
    model, told = kind.from_pretrained(folder, output_loading_info=True, **trust, **more)
    left = {key: told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    assert not any(left.values()), left
    return model.eval()


def refused(what, load, words=""):
    try:
        load()
    except Exception as error:  # whatever it says, it must be said
        assert words in str(error), f"{what}: {error}"
        return
    raise AssertionError(f"{what} was loaded")


def check_tokenizer(folder, texts):
    """Both ways to a tokenizer, and both ways with each."""
    of_file = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    of_file.clean_up_tokenization_spaces = False
    for tokenizer in (AutoTokenizer.from_pretrained(folder), of_file):
        for given in texts:
            if "text" in given:
                found = tokenizer(given["text"])["input_ids"]
                assert found == given["ids"], f"{folder.name}: {found}, not {given['ids']}"
            found = tokenizer.decode(given["ids"])
            assert found == given["decoded"], f"{folder.name}: {found!r}, not {given['decoded']!r}"


@torch.no_grad()
def check_model(folder):
    expected = read(folder / "expected.json")
    inputs = torch.tensor(expected["inputs"])
    for attention in ("eager", "sdpa"):
        model = load(folder, attn_implementation=attention)
        assert model.dtype == torch.float32
        logits = model(inputs).logits
        error = (logits.flatten() - torch.tensor(expected["logits"])).abs().max().item()
        assert error < TOLERANCE, f"{folder.name}, {attention}: {error}"
    count = len(expected["greedy"][0])
    for more in ({}, {"use_cache": False}):
        assert generate(model, inputs, count, **more) == expected["greedy"], f"{folder.name}: {more}"
    # A shorter prompt in the same batch, filled up on its left.
    padded = inputs.clone()
    padded[0, :4] = 0
    mask = torch.ones_like(inputs)
    mask[0, :4] = 0
    alone = generate(model, inputs[:1, 4:], count)[0]
    together = generate(model, padded, count, attention_mask=mask)
    assert together == [alone, expected["greedy"][1]], f"{folder.name}: with padding"
    beams = generate(model, inputs, count, num_beams=3)
    assert beams == generate(model, inputs, count, num_beams=3, use_cache=False), folder.name
    kept = cache_bytes(model, inputs)
    assert kept == expected["cache_bytes_per_token"], f"{folder.name}: {kept} bytes a token"
    if "texts" in expected:
        check_tokenizer(folder, expected["texts"])
    return error


LANGUAGE = (AutoModelForCausalLM, LlamaForCausalLM)
IMAGES = (AutoModelForImageClassification, ViTForImageClassification)


def check_protection(folder, kinds=LANGUAGE):
    """That no other program takes a variant for a plain model."""
    if "auto_map" in read(folder / "config.json"):
        for kind in (AutoConfig, AutoModel, *kinds):
            refused(folder, lambda: kind.from_pretrained(folder), "trust_remote_code=True")


def check_trained(folder, kinds=LANGUAGE):
    """The same of what training leaves; that of a plain Transformer is a plain model."""
    model_type = read(folder / "config.json")["model_type"]
    if model_type in ("llama", "vit"):
        _, told = kinds[1].from_pretrained(folder, output_loading_info=True)
        assert not told["missing_keys"] and not told["unexpected_keys"], told
        return
    for kind in (AutoModel, *kinds):
        refused(folder, lambda: kind.from_pretrained(folder), model_type)


@torch.no_grad()
def save(model, folder, inputs):
    """Saves a model, and what is found with it."""
    model.save_pretrained(folder)
    expected = {
        "inputs": inputs.tolist(),
        "logits": model(inputs).logits.flatten().tolist(),
        "greedy": generate(model, inputs, 12),
    }
    (folder / "expected.json").write_text(json.dumps(expected))


def save_models(root):
    """Llamas of transformers' own, and exported models as it saves them again."""
    for name in ("tied", "untied"):
        torch.manual_seed(len(name))
        config = LlamaConfig(
            vocab_size=61,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2 if name == "untied" else 4,
            max_position_embeddings=64,
            attention_bias=name == "untied",
            tie_word_embeddings=name == "tied",
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
        )
        inputs = torch.randint(0, 61, (2, 9))
        save(LlamaForCausalLM(config).eval(), root / "saved" / name, inputs)
    folders = (root / "models").glob("*-tied"), (root / "models").glob("0-*-sharing")
    for folder in sorted(folder for some in folders for folder in some):
        inputs = torch.tensor(read(folder / "expected.json")["inputs"])
        again = root / "saved" / f"again-{folder.name}"
        save(load(folder), again, inputs)
        assert "auto_map" in read(again / "config.json") or again.name == "again-0-transformer-tied"
        check_protection(again)


def images_of(found):
    return torch.tensor(found["pixels"]).reshape(found["shape"])


@torch.no_grad()
def check_classifier(folder):
    """Logits for images of the model's own size, and of another, with positions interpolated."""
    own, other = read(folder / "expected.json")["images"]
    errors = []
    for attention in ("eager", "sdpa"):
        model = load(folder, AutoModelForImageClassification, attn_implementation=attention)
        for found, more in ((own, {}), (other, {"interpolate_pos_encoding": True})):
            if more and isinstance(model, ViTForImageClassification):
                # It takes every grid for a square one.
                assert own["shape"][2] == own["shape"][3]
            logits = model(images_of(found), **more).logits.flatten()
            errors.append((logits - torch.tensor(found["logits"])).abs().max().item())
            assert errors[-1] < TOLERANCE, f"{folder.name}, {attention}, {more}: {errors[-1]}"
    refused(folder, lambda: model(images_of(other)), "")
    if (folder / "preprocessor_config.json").exists():
        check_processor(folder, model.config)
    return max(errors)


def check_processor(folder, config):
    """A picture becomes (byte / 255 - mean) / deviation."""
    file = read(folder / "preprocessor_config.json")
    processor = AutoImageProcessor.from_pretrained(folder)
    size = config.image_size
    picture = torch.randint(0, 256, (config.num_channels, size, size), dtype=torch.uint8).numpy()
    found = processor(picture, return_tensors="pt", input_data_format="channels_first")
    mean, deviation = (torch.tensor(file[key])[:, None, None] for key in ("image_mean", "image_std"))
    expected = (torch.tensor(picture) / 255 - mean) / deviation
    error = (found["pixel_values"][0] - expected).abs().max().item()
    assert error < 1e-5, f"{folder.name}: pixels differ by {error}"


@torch.no_grad()
def save_classifiers(root):
    """A ViT of transformers' own, and exported models as it saves them again."""
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=24,
        patch_size=6,
        initializer_range=0.2,
        num_labels=4,
    )
    models = {"vit": ViTForImageClassification(config).eval()}
    for folder in sorted((root / "image-models").glob("*-class")):
        models[f"again-{folder.name}"] = load(folder, AutoModelForImageClassification)
    for name, model in models.items():
        folder = root / "image-saved" / name
        model.save_pretrained(folder)
        found = []
        for size, more in (((24, 24), {}), ((36, 18), {"interpolate_pos_encoding": True})):
            images = torch.rand(2, 3, *size)
            logits = model(images, **more).logits.flatten().tolist()
            pixels = images.flatten().tolist()
            found.append({"shape": list(images.shape), "pixels": pixels, "logits": logits})
        (folder / "expected.json").write_text(json.dumps({"images": found}))
        check_protection(folder, IMAGES)


# How layers with shared keys are computed, written again without any cache.


def attention_by_hand(config, layer, x, weights, first, shared):
    """The output of one layer's attention, V₁, and (keys, values, V) of the layer that has them."""
    batch, time, _ = x.shape
    size = config.head_dim

    def heads(name):
        y = x @ weights[f"model.layers.{layer}.self_attn.{name}.weight"].T
        return y.reshape(batch, time, -1, size).transpose(1, 2)

    def rotated(y):
        frequencies = config.rope_theta ** (-torch.arange(0, size, 2) / size)
        angles = torch.arange(time)[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        a, b = y[..., : size // 2], y[..., size // 2 :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    name = f"model.layers.{layer}.self_attn."
    own, mix_first, fidelity = 1.0, 0.0, 0.0
    if layer > 0 and config.variant == "neutreno":
        fidelity = config.neutreno_lambda
    if layer > 0 and config.variant == "svformer":
        own, mix_first = 0.0, 1.0
    if name + "lambda_own" in weights:
        own, mix_first = weights[name + "lambda_own"], weights[name + "lambda_first"]
    if layer % config.share_keys == 0:
        value = heads("v_proj") if own is not None and name + "v_proj.weight" in weights else first
        first = value if layer == 0 else first
        shared = rotated(heads("k_proj")), own * value + mix_first * first, value
    keys, values, value = shared
    groups = config.num_attention_heads // config.num_key_value_heads
    full = [tensor.repeat_interleave(groups, 1) for tensor in (keys, values, first - value)]
    scores = rotated(heads("q_proj")) @ full[0].transpose(2, 3) / size**0.5
    scores = scores.masked_fill(torch.ones(time, time).triu(1).bool(), -torch.inf)
    output = scores.softmax(-1) @ full[1] + fidelity * full[2]
    output = output.transpose(1, 2).reshape(batch, time, -1)
    return output @ weights[name + "o_proj.weight"].T, first, shared


def logits_by_hand(config, weights, inputs):
    def norm(x, name):
        return x * (x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps).rsqrt() * weights[name]

    x, first, shared = weights["model.embed_tokens.weight"][inputs], None, None
    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}."
        attended, first, shared = attention_by_hand(
            config, layer, norm(x, name + "input_layernorm.weight"), weights, first, shared
        )
        x = x + attended
        y = norm(x, name + "post_attention_layernorm.weight")
        gate, up, down = (weights[f"{name}mlp.{part}_proj.weight"] for part in ("gate", "up", "down"))
        x = x + (torch.nn.functional.silu(y @ gate.T) * (y @ up.T)) @ down.T
    return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T


@torch.no_grad()
def check_shared_keys(modeling):
    """Keys of every second layer: the logits, generation, and what is cached."""
    spec = importlib.util.spec_from_file_location("neutreno_modeling", modeling)
    package = importlib.util.module_from_spec(spec)
    sys.modules["neutreno_modeling"] = package
    spec.loader.exec_module(package)
    for name, keys, of_five in (
        ("SharedKeys", {"variant": "transformer"}, 6),
        ("Neutreno", {"variant": "neutreno", "neutreno_lambda": 0.4}, 6),
        ("Resformer", {"variant": "resformer", "resformer_kind": "learnable"}, 6),
        ("Svformer", {"variant": "svformer"}, 4),
    ):
        config = getattr(package, f"{name}LlamaConfig")(
            vocab_size=61,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=12,
            max_position_embeddings=64,
            rope_theta=10000.0,
            share_keys=2,
            bos_token_id=None,
            eos_token_id=None,
            **keys,
        )
        torch.manual_seed(1)
        model = getattr(package, f"{name}LlamaForCausalLM")(config).eval()
        for parameter in model.parameters():
            parameter.normal_(0.0 if parameter.ndim > 1 else 1.0, 0.3)
        inputs = torch.randint(0, 61, (2, 9))
        config.rope_theta = 10000.0
        expected = logits_by_hand(config, model.state_dict(), inputs)
        error = (model(inputs).logits - expected).abs().max().item()
        assert error < TOLERANCE, f"{name} with shared keys: {error}"
        assert generate(model, inputs, 12) == generate(model, inputs, 12, use_cache=False), name
        kept = cache_bytes(model, inputs)
        assert kept == of_five * 2 * 12 * 4, f"{name} with shared keys: {kept} bytes a token"


def main():
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    for name in ("saved", "image-saved"):
        shutil.rmtree(root / name, ignore_errors=True)
    folders = sorted((root / "models").iterdir())
    errors = []
    for folder in folders:
        errors.append(check_model(folder))
        check_protection(folder)
    halves = sorted((root / "half").iterdir())
    assert all(load(folder, dtype="auto").dtype == torch.bfloat16 for folder in halves)
    trained = sorted((root / "trained").iterdir())
    trained += sorted((root / "runs").glob("*/*-seed*"))
    for folder in trained:
        check_trained(folder)
    check_shared_keys(next((root / "models").glob("*/modeling_neutreno.py")))
    save_models(root)
    classifiers = sorted((root / "image-models").iterdir())
    image_errors = []
    for folder in classifiers:
        image_errors.append(check_classifier(folder))
        check_protection(folder, IMAGES)
    of_images = sorted((root / "image-trained").iterdir())
    of_images += sorted((root / "image-runs" / "run").glob("*-seed*"))
    for folder in of_images:
        check_trained(folder, IMAGES)
    save_classifiers(root)
    print(
        f"transformers {transformers.__version__}: {len(folders)} exported language models, logits "
        f"within {max(errors):.1e}, and {len(classifiers)} classifiers, within {max(image_errors):.1e}; "
        f"{len(trained) + len(of_images)} as trained; {len(halves)} in bfloat16"
    )


if __name__ == "__main__":
    main()
