"""Llama with the value residuals of neutreno's variants, for Hugging Face's transformers 4 and 5.

Every layer after the first computes, per head,

    O = P · (a·V + b·V₁) + c·(V₁ − V),   P = softmax(Q Kᵀ / √d, masked)

where V₁ is the value of the first layer, which is plain attention.

    Transformer   a = 1, b = 0, c = 0
    NeuTRENO      a = 1, b = 0, c = λ    arXiv 2312.00751
    ResFormer     a = λ₂, b = λ₁, c = 0  arXiv 2410.17897; with neutreno_lambda c = λ on top
    SVFormer      a = 0, b = 1, c = 0    the same; layers after the first have no V

With share_keys = n only each n-th layer has keys and values of its own. The others attend over the
(rotated) keys and the values that the latest such layer attends over, and V is that layer's.

What is cached while text is generated: keys, and the values that are attended over (a·V + b·V₁), of
each layer that has them; SVFormer keeps V₁ alone, with the first layer. The term with c needs only
the current tokens' V₁ and V.

Load it with AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).
"""

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaForCausalLM,
    LlamaModel,
    eager_attention_forward,
    repeat_kv,
    rotate_half,
)

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


VARIANTS = {
    config.model_type: config.variant
    for config in (
        SharedKeysLlamaConfig,
        NeutrenoLlamaConfig,
        ResformerLlamaConfig,
        SvformerLlamaConfig,
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


class ValueResidualAttention(LlamaAttention):
    """Attention with the first layer's value, and with keys of its own or an earlier layer's."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.variant = variant_of(config)
        self.has_keys = layer_idx % shared_layers(config) == 0
        self.has_value = self.has_keys and (layer_idx == 0 or self.variant != "svformer")
        if not self.has_keys:
            del self.k_proj
        if not self.has_value:
            del self.v_proj
        # a and b, where they are not learned.
        self.own, self.first, self.fidelity = 1.0, 0.0, 0.0
        self.learns_first, self.shares_first = False, False
        if layer_idx == 0 or self.variant == "transformer":
            return
        if self.variant == "svformer":
            self.own, self.first = 0.0, 1.0
            return
        self.fidelity = number_of(config, "neutreno_lambda", 0.0)
        if self.variant == "resformer":
            self.mix_first_value(config)

    def mix_first_value(self, config):
        """ResFormer's a and b."""
        kind = getattr(config, "resformer_kind", None) or "identity"
        match kind:
            case "identity":
                self.own, self.first = 0.5, 0.5
            case "constant":
                self.first = number_of(config, "resformer_lambda", CONSTANT_LAMBDA)
            case "sparse":
                mixes = self.layer_idx in sparse_layers(config)
                self.first = number_of(config, "resformer_lambda", SPARSE_LAMBDA) if mixes else 0.0
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
        if self.first == 0.0:
            return self.own * own if self.own != 1.0 else own
        return self.own * own + self.first * values.first

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


def attention_function(config):
    kind = config._attn_implementation
    return eager_attention_forward if kind == "eager" else ALL_ATTENTION_FUNCTIONS[kind]


class ValueResidual:
    """What layers hand on to later ones in one pass."""

    def __init__(self, shares):
        # V₁, and the latest V, of the tokens of this pass.
        self.first = self.own = None
        # The same V₁ of all tokens so far, and the latest keys and values that are attended over.
        self.all_first = self.keys = self.attended = None
        # b of each layer in ResFormer's kind learnable-plus.
        self.shares = shares


class ValueResidualModel(LlamaModel):
    # Layers need what earlier ones computed in the same pass.
    supports_gradient_checkpointing = False
    _can_compile_fullgraph = False

    def __init__(self, config):
        super().__init__(config)
        for index, layer in enumerate(self.layers):
            layer.self_attn = ValueResidualAttention(config, index)
        layers = config.num_hidden_layers
        kind = getattr(config, "resformer_kind", None)
        self.has_shares = kind == "learnable-plus" and layers > 1
        if self.has_shares:
            self.lambda_logits = nn.Parameter(torch.zeros(layers))
            self.lambda_scale = nn.Parameter(torch.full((1,), float(layers)))
        self.post_init()

    def forward(self, *args, **kwargs):
        shares = self.lambda_scale * self.lambda_logits.softmax(-1) if self.has_shares else None
        return super().forward(*args, value_residual=ValueResidual(shares), **kwargs)


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
