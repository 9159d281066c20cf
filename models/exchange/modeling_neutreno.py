"""Llama and ViT with the value residuals of neutreno's variants, for Hugging Face's transformers 4 and 5.

Every layer after the first computes, per head,

    O = P · (a·V + b·V₁) + c·(V₁ − V),   P = softmax(Q Kᵀ / √d, masked)

where V₁ is the value of the first layer, which is plain attention.

    Transformer   a = 1, b = 0, c = 0
    NeuTRENO      a = 1, b = 0, c = λ    arXiv 2312.00751
    ResFormer     a = λ₂, b = λ₁, c = 0  arXiv 2410.17897; with neutreno_lambda c = λ on top, and
                                         in the kind given all three are given for each layer
    SVFormer      a = 0, b = 1, c = 0    the same; layers after the first have no V

With share_keys = n only each n-th layer has keys and values of its own. The others attend over the
(rotated) keys and the values that the latest such layer attends over, and V is that layer's.

What is cached while text is generated: keys, and the values that are attended over (a·V + b·V₁), of
each layer that has them; SVFormer keeps V₁ alone, with the first layer. The term with c needs only
the current tokens' V₁ and V.

Without class_token a ViT classifies by the mean of its tokens.

Load a model with AutoModelForCausalLM, or AutoModelForImageClassification, and
from_pretrained(folder, trust_remote_code=True).
"""

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaForCausalLM,
    LlamaModel,
    eager_attention_forward,
    repeat_kv,
    rotate_half,
)
from transformers.models.vit.configuration_vit import ViTConfig

# What ResFormer's constants are where config.json does not say.
CONSTANT_LAMBDA = 2.0
SPARSE_LAMBDA = 5.0


class SharedKeysLlamaConfig(LlamaConfig):
    model_type = "shared_keys_llama"
    variant = "transformer"


class NeutrenoLlamaConfig(LlamaConfig):
    model_type = "neutreno_llama"
    variant = "neutreno"


class ResformerLlamaConfig(LlamaConfig):
    model_type = "resformer_llama"
    variant = "resformer"


class SvformerLlamaConfig(LlamaConfig):
    model_type = "svformer_llama"
    variant = "svformer"


class MeanPooledViTConfig(ViTConfig):
    model_type = "mean_pooled_vit"
    variant = "transformer"
    class_token = False


class NeutrenoViTConfig(ViTConfig):
    model_type = "neutreno_vit"
    variant = "neutreno"


class ResformerViTConfig(ViTConfig):
    model_type = "resformer_vit"
    variant = "resformer"


class SvformerViTConfig(ViTConfig):
    model_type = "svformer_vit"
    variant = "svformer"


VARIANTS = {
    config.model_type: config.variant
    for config in (
        SharedKeysLlamaConfig,
        NeutrenoLlamaConfig,
        ResformerLlamaConfig,
        SvformerLlamaConfig,
        MeanPooledViTConfig,
        NeutrenoViTConfig,
        ResformerViTConfig,
        SvformerViTConfig,
    )
}


def variant_of(config):
    """The variant, which model_type and the key variant say alike."""
    expected = VARIANTS.get(config.model_type)
    if config.variant != expected:
        raise ValueError(
            f"variant is {config.variant!r}, and with model_type {config.model_type!r} it must be "
            f"{expected!r}"
        )
    return config.variant


def number_of(config, key, usual):
    number = getattr(config, key, None)
    return usual if number is None else float(number)


def shared_layers(config):
    """How many layers have the same keys."""
    count = getattr(config, "share_keys", None)
    count = 1 if count is None else count
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"share_keys is {count!r}, and must be a whole number of at least 1")
    return count


def sparse_layers(config):
    """The layers that mix in ResFormer's kind sparse: the last three eighths, if none are named."""
    layers = config.num_hidden_layers
    chosen = getattr(config, "resformer_layers", None)
    return range(max(layers - -(-3 * layers // 8), 1), layers) if chosen is None else chosen


def given_coefficients(config, layer_idx):
    """a, b and c in ResFormer's kind given: the layer's own, or those of the one whose values it has."""
    given = getattr(config, "resformer_coefficients", None) or []
    mixing = config.num_hidden_layers - 1
    if len(given) != mixing or any(len(layer) != 3 for layer in given):
        raise ValueError(f"resformer_coefficients must be {mixing} times [a, b, c]")
    layer = layer_idx - layer_idx % shared_layers(config)
    return map(float, given[layer - 1] if layer > 0 else (1.0, 0.0, 0.0))


class ValueMixing:
    """What a layer's attention needs to know of the variant: a, b and c."""

    def choose_mixing(self, config, layer_idx):
        self.layer_idx = layer_idx
        variant = variant_of(config)
        self.has_keys = layer_idx % shared_layers(config) == 0
        self.has_value = self.has_keys and (layer_idx == 0 or variant != "svformer")
        # a and b, where they are not learned.
        self.own, self.first, self.fidelity = 1.0, 0.0, 0.0
        self.learns_first, self.shares_first = False, False
        if layer_idx == 0 or variant == "transformer":
            return
        if variant == "svformer":
            self.own, self.first = 0.0, 1.0
            return
        self.fidelity = number_of(config, "neutreno_lambda", 0.0)
        if variant == "resformer":
            self.mix_first_value(config)

    def mix_first_value(self, config):
        """ResFormer's a and b, and in the kind given c."""
        kind = getattr(config, "resformer_kind", None) or "identity"
        match kind:
            case "identity":
                self.own, self.first = 0.5, 0.5
            case "constant":
                self.first = number_of(config, "resformer_lambda", CONSTANT_LAMBDA)
            case "sparse":
                mixes = self.layer_idx in sparse_layers(config)
                self.first = number_of(config, "resformer_lambda", SPARSE_LAMBDA) if mixes else 0.0
            case "given":
                self.own, self.first, self.fidelity = given_coefficients(config, self.layer_idx)
            case "learnable" | "learnable-plus":
                self.learns_first = self.has_value and kind == "learnable"
                self.shares_first = self.has_value and kind == "learnable-plus"
            case _:
                raise ValueError(f"resformer_kind is {kind!r}, which is not known")
        if self.learns_first:
            self.lambda_first = nn.Parameter(torch.full((1,), 0.5))
        if self.learns_first or self.shares_first:
            self.lambda_own = nn.Parameter(torch.full((1,), 0.5))

    def mixed(self, own, values):
        """a·V + b·V₁."""
        if self.learns_first:
            return self.lambda_own * own + self.lambda_first * values.first
        if self.shares_first:
            return self.lambda_own * own + values.shares[self.layer_idx] * values.first
        if (self.own, self.first) == (1.0, 0.0):
            return own
        return self.own * own + self.first * values.first


class Shares:
    """b of each layer in ResFormer's kind learnable-plus: shares of a total, both learned."""

    def make_shares(self, config):
        layers = config.num_hidden_layers
        kind = getattr(config, "resformer_kind", None)
        self.has_shares = kind == "learnable-plus" and layers > 1
        if self.has_shares:
            self.lambda_logits = nn.Parameter(torch.zeros(layers))
            self.lambda_scale = nn.Parameter(torch.full((1,), float(layers)))

    def shares(self):
        return self.lambda_scale * self.lambda_logits.softmax(-1) if self.has_shares else None


class ValueResidual:
    """What layers hand on to later ones in one pass."""

    def __init__(self, shares):
        # V₁, and the latest V, of the tokens of this pass.
        self.first = self.own = None
        # The same V₁ of all tokens so far, and the latest keys and values that are attended over.
        self.all_first = self.keys = self.attended = None
        # b of each layer in ResFormer's kind learnable-plus.
        self.shares = shares


def attention_function(config):
    kind = config._attn_implementation
    return eager_attention_forward if kind == "eager" else ALL_ATTENTION_FUNCTIONS[kind]


# Llama


class ValueResidualAttention(ValueMixing, LlamaAttention):
    """Attention with the first layer's value, and with keys of its own or an earlier layer's."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.choose_mixing(config, layer_idx)
        if not self.has_keys:
            del self.k_proj
        if not self.has_value:
            del self.v_proj

    def keys_and_values(self, hidden_states, heads, rotation, cache, values):
        """The keys and values that are attended over, of all tokens so far."""
        if not self.has_keys:
            return values.keys, values.attended
        key = rotate(heads(self.k_proj(hidden_states)), *rotation)
        if self.has_value:
            values.own = heads(self.v_proj(hidden_states))
            if self.layer_idx == 0:
                values.first = values.own
            attended = self.mixed(values.own, values)
        else:
            # V₁ is cached with the first layer, so there is nothing to keep here.
            attended = key[..., :0]
        if cache is not None:
            key, attended = cache.update(key, attended, self.layer_idx)
        if self.layer_idx == 0:
            values.all_first = attended
        values.keys = key
        values.attended = attended if self.has_value else values.all_first
        return values.keys, values.attended

    def forward(
        self,
        hidden_states,
        position_embeddings=None,
        attention_mask=None,
        value_residual=None,
        **kwargs,
    ):
        # Version 4 has another name for it, and so have the first versions 5.
        caches = [kwargs.pop(name, None) for name in ("cache", "past_key_values", "past_key_value")]
        cache = next((cache for cache in caches if cache is not None), None)
        shape = hidden_states.shape[:-1]

        def heads(x):
            return x.view(*shape, -1, self.head_dim).transpose(1, 2)

        query = rotate(heads(self.q_proj(hidden_states)), *position_embeddings)
        key, attended = self.keys_and_values(
            hidden_states, heads, position_embeddings, cache, value_residual
        )
        output, weights = attention_function(self.config)(
            self,
            query,
            key,
            attended,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        if self.fidelity != 0.0:
            change = self.fidelity * (value_residual.first - value_residual.own)
            output = output + repeat_kv(change, self.num_key_value_groups).transpose(1, 2)
        return self.o_proj(output.reshape(*shape, -1).contiguous()), weights


def rotate(x, cos, sin):
    """Rotary positions."""
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return x * cos + rotate_half(x) * sin


class ValueResidualModel(Shares, LlamaModel):
    # Layers need what earlier ones computed in the same pass.
    supports_gradient_checkpointing = False
    _can_compile_fullgraph = False

    def __init__(self, config):
        super().__init__(config)
        for index, layer in enumerate(self.layers):
            layer.self_attn = ValueResidualAttention(config, index)
        self.make_shares(config)
        self.post_init()

    def forward(self, *args, **kwargs):
        return super().forward(*args, value_residual=ValueResidual(self.shares()), **kwargs)


class ValueResidualForCausalLM(LlamaForCausalLM):
    supports_gradient_checkpointing = False
    _can_compile_fullgraph = False
    model_class = ValueResidualModel

    def __init__(self, config):
        super(LlamaForCausalLM, self).__init__(config)
        self.model = self.model_class(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


class SharedKeysLlamaModel(ValueResidualModel):
    config_class = SharedKeysLlamaConfig


class SharedKeysLlamaForCausalLM(ValueResidualForCausalLM):
    config_class = SharedKeysLlamaConfig
    model_class = SharedKeysLlamaModel


class NeutrenoLlamaModel(ValueResidualModel):
    config_class = NeutrenoLlamaConfig


class NeutrenoLlamaForCausalLM(ValueResidualForCausalLM):
    config_class = NeutrenoLlamaConfig
    model_class = NeutrenoLlamaModel


class ResformerLlamaModel(ValueResidualModel):
    config_class = ResformerLlamaConfig


class ResformerLlamaForCausalLM(ValueResidualForCausalLM):
    config_class = ResformerLlamaConfig
    model_class = ResformerLlamaModel


class SvformerLlamaModel(ValueResidualModel):
    config_class = SvformerLlamaConfig


class SvformerLlamaForCausalLM(ValueResidualForCausalLM):
    config_class = SvformerLlamaConfig
    model_class = SvformerLlamaModel


# ViT. Its layers have other names in each version of transformers, so these are of our own, with the
# names that files of weights have.


class Dense(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.dense(x)


class ViTSelfAttention(ValueMixing, nn.Module):
    """Full attention with the first layer's value."""

    is_causal = False
    num_key_value_groups = 1

    def __init__(self, config, layer_idx):
        super().__init__()
        self.config = config
        self.choose_mixing(config, layer_idx)
        width = config.hidden_size
        self.head_dim = width // config.num_attention_heads
        self.query = nn.Linear(width, width, bias=config.qkv_bias)
        self.key = nn.Linear(width, width, bias=config.qkv_bias)
        if self.has_value:
            self.value = nn.Linear(width, width, bias=config.qkv_bias)

    def forward(self, x, values):
        shape = x.shape[:-1]

        def heads(linear):
            return linear(x).view(*shape, -1, self.head_dim).transpose(1, 2)

        values.own = heads(self.value) if self.has_value else values.first
        if self.layer_idx == 0:
            values.first = values.own
        attended = self.mixed(values.own, values) if self.has_value else values.first
        output, weights = attention_function(self.config)(
            self,
            heads(self.query),
            heads(self.key),
            attended,
            None,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
            scaling=self.head_dim**-0.5,
        )
        if self.fidelity != 0.0:
            output = output + self.fidelity * (values.first - values.own).transpose(1, 2)
        return output.reshape(*shape, -1), weights


class ViTAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.attention = ViTSelfAttention(config, layer_idx)
        self.output = Dense(config.hidden_size, config.hidden_size)

    def forward(self, x, values):
        attended, weights = self.attention(x, values)
        return self.output(attended), weights


class ViTLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = ViTAttention(config, layer_idx)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.intermediate = Dense(width, inner)
        self.output = Dense(inner, width)

    def forward(self, x, values):
        attended, weights = self.attention(self.layernorm_before(x), values)
        x = x + attended
        inner = nn.functional.gelu(self.intermediate(self.layernorm_after(x)))
        return x + self.output(inner), weights


class ViTEncoder(Shares, nn.Module):
    def __init__(self, config):
        super().__init__()
        layers = range(config.num_hidden_layers)
        self.layer = nn.ModuleList([ViTLayer(config, index) for index in layers])
        self.make_shares(config)


class ViTPatches(nn.Module):
    def __init__(self, config):
        super().__init__()
        size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, size, stride=size)


class ViTEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        sides = config.image_size
        sides = [sides, sides] if isinstance(sides, int) else sides
        self.patches = [side // config.patch_size for side in sides]
        self.patch_embeddings = ViTPatches(config)
        self.class_tokens = int(getattr(config, "class_token", True))
        if self.class_tokens:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        tokens = self.patches[0] * self.patches[1] + self.class_tokens
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, config.hidden_size))

    def positions(self, patches):
        """The positions, between those that were learned if there are others."""
        if patches == self.patches:
            return self.position_embeddings
        first, rest = self.position_embeddings.split(
            [self.class_tokens, self.position_embeddings.shape[1] - self.class_tokens], dim=1
        )
        grid = rest.unflatten(1, self.patches).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(grid, size=patches, mode="bicubic", align_corners=False)
        return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, pixel_values, interpolate_pos_encoding):
        x = self.patch_embeddings.projection(pixel_values)
        patches = list(x.shape[2:])
        if patches != self.patches and not interpolate_pos_encoding:
            raise ValueError(
                f"the image has {patches} patches, and the model {self.patches}: resize it, or say "
                f"interpolate_pos_encoding=True"
            )
        x = x.flatten(2).transpose(1, 2)
        if self.class_tokens:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        return x + self.positions(patches)


class ValueResidualViT(PreTrainedModel):
    base_model_prefix = "vit"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = False
    _supports_sdpa = True

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, ViTEmbeddings):
            nn.init.normal_(module.position_embeddings, std=self.config.initializer_range)


class ValueResidualViTModel(ValueResidualViT):
    def __init__(self, config):
        super().__init__(config)
        if config.hidden_act != "gelu":
            raise ValueError(f"hidden_act is {config.hidden_act!r}, and only 'gelu' is known")
        self.embeddings = ViTEmbeddings(config)
        self.encoder = ViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values,
        interpolate_pos_encoding=False,
        output_attentions=False,
        output_hidden_states=False,
        **kwargs,
    ):
        x = self.embeddings(pixel_values, interpolate_pos_encoding)
        values = ValueResidual(self.encoder.shares())
        states, attentions = [x], []
        for layer in self.encoder.layer:
            x, weights = layer(x, values)
            states.append(x)
            attentions.append(weights)
        return BaseModelOutput(
            last_hidden_state=self.layernorm(x),
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class ValueResidualForImageClassification(ValueResidualViT):
    model_class = ValueResidualViTModel

    def __init__(self, config):
        super().__init__(config)
        self.vit = self.model_class(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, pixel_values, labels=None, **kwargs):
        outputs = self.vit(pixel_values, **kwargs)
        x = outputs.last_hidden_state
        logits = self.classifier(x[:, 0] if self.vit.embeddings.class_tokens else x.mean(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class MeanPooledViTModel(ValueResidualViTModel):
    config_class = MeanPooledViTConfig


class MeanPooledViTForImageClassification(ValueResidualForImageClassification):
    config_class = MeanPooledViTConfig
    model_class = MeanPooledViTModel


class NeutrenoViTModel(ValueResidualViTModel):
    config_class = NeutrenoViTConfig


class NeutrenoViTForImageClassification(ValueResidualForImageClassification):
    config_class = NeutrenoViTConfig
    model_class = NeutrenoViTModel


class ResformerViTModel(ValueResidualViTModel):
    config_class = ResformerViTConfig


class ResformerViTForImageClassification(ValueResidualForImageClassification):
    config_class = ResformerViTConfig
    model_class = ResformerViTModel


class SvformerViTModel(ValueResidualViTModel):
    config_class = SvformerViTConfig


class SvformerViTForImageClassification(ValueResidualForImageClassification):
    config_class = SvformerViTConfig
    model_class = SvformerViTModel
