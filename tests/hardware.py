"""PyTorch's figures for the training job of `bench_training`, on its GPU: lines of JSON for `tests/hardware`.

The model is the same (RMS norm, rotary positions, SwiGLU, untied output layer) in float32 without TF32, with
AdamW and one fixed batch of random tokens. Prints nothing but a remark where there is no PyTorch that uses
a GPU."""

import json
import sys
import time

SIZES = {
    "--size S": (4, 128, 4, 128, 16, 256, 31),
    "--size M": (6, 256, 8, 256, 8, 8192, 31),
    "--size M --layers 12 --width 768 --heads 12 --context 256 --batch 4 --steps 13": (12, 768, 12, 256, 4, 8192, 13),
}


def model_of(torch, layers, width, heads, context, vocabulary):
    nn, functional = torch.nn, torch.nn.functional
    inner = (-(-8 * width // 3) + 31) // 32 * 32
    size = width // heads
    frequencies = 10000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(context), frequencies)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2))
            self.qkv = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3))
            self.output = nn.Linear(width, width, bias=False)
            self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
            self.down = nn.Linear(inner, width, bias=False)

        def forward(self, x, cosine, sine):
            batch, time, _ = x.shape
            normed = self.norms[0](x)
            split = lambda y: y.view(batch, time, heads, size).transpose(1, 2)
            q, k, v = (split(linear(normed)) for linear in self.qkv)
            turn = lambda y: y * cosine + torch.cat((-y[..., size // 2 :], y[..., : size // 2]), -1) * sine
            o = functional.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
            x = x + self.output(o.transpose(1, 2).reshape(batch, time, width))
            normed = self.norms[1](x)
            return x + self.down(functional.silu(self.gate(normed)) * self.up(normed))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.RMSNorm(width, eps=1e-5)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.register_buffer("cosine", angles.cos().repeat(1, 2))
            self.register_buffer("sine", angles.sin().repeat(1, 2))

        def forward(self, tokens, targets):
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x, self.cosine, self.sine)
            return functional.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())

    return Model()


def main():
    try:
        import torch
    except ImportError:
        sys.exit("no PyTorch here")
    mps = getattr(torch.backends, "mps", None)
    kind = "cuda" if torch.cuda.is_available() else "mps" if mps and mps.is_available() else None
    if "--cpu" in sys.argv:
        kind = "cpu"
    if kind is None:
        sys.exit("PyTorch here uses no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    wait = {"cuda": torch.cuda.synchronize, "mps": lambda: torch.mps.synchronize(), "cpu": lambda: None}[kind]
    name = torch.cuda.get_device_name() if kind == "cuda" else kind
    for flags, (layers, width, heads, context, batch, vocabulary, steps) in SIZES.items():
        torch.manual_seed(0)
        model = model_of(torch, layers, width, heads, context, vocabulary).to(kind)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.95), 1e-8, 0.1, fused=kind == "cuda")
        tokens = torch.randint(vocabulary, (batch, context + 1), device=kind)
        seconds = []
        for _ in range(steps):
            wait()
            start = time.perf_counter()
            optimizer.zero_grad()
            loss = model(tokens[:, :-1], tokens[:, 1:])
            loss.backward()
            optimizer.step()
            wait()
            seconds.append(time.perf_counter() - start)
        median = sorted(seconds[3:])[(steps - 3) // 2]
        peak = torch.cuda.max_memory_allocated() if kind == "cuda" else None
        line = {"peer": f"PyTorch {torch.__version__}", "device": name, "flags": flags, "last_loss": loss.item()}
        line |= {"tok_s": round(batch * context / median, 1), "step_ms_median": round(1e3 * median, 3)}
        print(json.dumps(line | {"peak_tensor_bytes": peak}), flush=True)


main()
