#!/usr/bin/env bash
# Writes with the same model here and in other programs, in turn, and prints a table of medians and of
# ratios, taken turn by turn. Run it with nothing else running.
#
#   benches/compare_generation.sh MODEL [ROUNDS] NAME=COMMAND...
#
# MODEL is a folder of Hugging Face's. Each COMMAND gets the folder and f32 or bf16 as arguments, reads a
# prompt of 512 tokens, writes 64, and prints a line of JSON with prefill_tok_s, decode_tok_s,
# first_token_s and peak_rss_mib, as examples/bench_generation does with --json. For example:
#
#   benches/compare_generation.sh MODEL 3 "transformers=python transformers_bench.py"
set -euo pipefail

if [ $# -lt 1 ] || [ ! -f "$1/config.json" ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
model=$(realpath "$1")
shift
rounds=3
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    rounds=$1
    shift
fi
cd "$(dirname "$0")/.."

cargo build --release --example bench_generation
ours="$PWD/target/release/examples/bench_generation --device cpu --json"
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

# The number of a key in a line of JSON; a dash if there is none.
value() { grep -oE "\"$1\": ?[0-9.]+" | tail -1 | grep -oE '[0-9.]+$' || echo -; }

measure() { # round, precision, name, command
    local line figures=()
    line=$($4 | grep decode_tok_s) || { echo "$3 failed: $4" >&2; return; }
    for key in prefill_tok_s decode_tok_s first_token_s peak_rss_mib of_bound; do
        figures+=("$(value $key <<<"$line")")
    done
    echo "$1 $2 $3 ${figures[*]}" | tee -a "$lines" >&2
}

echo "round precision name prefill/s decode/s first_token_s peak_mib of_bound" >&2
for round in $(seq "$rounds"); do
    for precision in f32 bf16; do
        measure "$round" $precision neutreno "$ours --model $model --precision $precision"
        for peer in "$@"; do
            measure "$round" $precision "${peer%%=*}" "${peer#*=} $model $precision"
        done
    done
done

# Medians; and for prompt and writing the median of the ratios to ours in the same round.
sort -k2,2 -k3,3 "$lines" | awk '
    function median(list, count,   i, j, t, parts) {
        split(list, parts, " ")
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && parts[j - 1] + 0 > parts[j] + 0; j--) {
                t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t
            }
        return parts[int((count + 1) / 2)]
    }
    {
        key = $2 " " $3
        count[key]++
        for (f = 4; f <= 8; f++) values[key, f] = values[key, f] " " $f
        at[$1, $2, $3, 4] = $4; at[$1, $2, $3, 5] = $5
        if ($1 > rounds) rounds = $1
        names[$3]; precisions[$2]
    }
    END {
        printf "%-9s %-16s %10s %10s %12s %9s %9s %10s %10s\n", "precision", "name", "prompt/s",
            "writing/s", "first token", "peak MiB", "of bound", "prompt x", "writing x"
        for (p in precisions) for (n in names) {
            key = p " " n
            if (!count[key]) continue
            for (f = 4; f <= 5; f++) {
                ratios[f] = ""; found = 0
                for (r = 1; r <= rounds; r++) if (at[r, p, n, f] > 0) {
                    ratios[f] = ratios[f] " " at[r, p, "neutreno", f] / at[r, p, n, f]; found++
                }
                ratio[f] = median(ratios[f], found)
            }
            printf "%-9s %-16s %10.1f %10.1f %12.2f %9.0f %9s %10.2f %10.2f\n", p, n,
                median(values[key, 4], count[key]), median(values[key, 5], count[key]),
                median(values[key, 6], count[key]), median(values[key, 7], count[key]),
                sprintf("%.0f %%", 100 * median(values[key, 8], count[key])), ratio[4], ratio[5]
        }
    }'
