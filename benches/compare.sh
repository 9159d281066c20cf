#!/usr/bin/env bash
# Trains the same small models here and in other frameworks, in turn, and prints a table of medians
# and of ratios, taken turn by turn. Run it with nothing else running.
#
#   benches/compare.sh [ROUNDS] NAME=COMMAND...
#
# Each COMMAND trains the size whose name (S or M) is added to it, on the weights and tokens of
# examples/bench_training/work.rs, and prints a line of JSON with tok_s, peak_rss_mib, loss0 and
# loss20. For example:
#
#   benches/compare.sh 3 "PyTorch=python torch_bench.py train" "candle=./peer-candle train"
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=3
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    rounds=$1
    shift
fi
if [ $# = 0 ] || [[ "$1" != *=* ]]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi

cargo build --release --example bench_training
ours="$PWD/target/release/examples/bench_training --device cpu --json --size"
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

# The last number of a key in a line of JSON; a dash if there is none.
value() { grep -oE "\"$1\": ?[0-9.]+" | tail -1 | grep -oE '[0-9.]+$' || echo -; }

measure() { # round, size, name, command
    local line
    line=$($4 "$2" | grep loss0) || { echo "$3 failed on $2: $4 $2" >&2; return; }
    local figures=()
    for key in tok_s peak_rss_mib loss0 loss20; do figures+=("$(value $key <<<"$line")"); done
    echo "$1 $2 $3 ${figures[*]}" | tee -a "$lines" >&2
}

for size in S M; do
    for round in $(seq "$rounds"); do
        measure "$round" "$size" neutreno "$ours"
        for peer in "$@"; do measure "$round" "$size" "${peer%%=*}" "${peer#*=}"; done
    done
done

awk '
    { rate[$1, $2, $3] = $4; memory[$2, $3] = $5; first[$2, $3] = $6; last[$2, $3] = $7 }
    { key = $2 " " $3; if (!(key in seen)) { seen[key] = 1; order[++count] = key } rounds = $1 }
    function median(values, n,    i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && values[j] < values[j - 1]; j--) {
                t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
            }
        return values[int((n + 1) / 2)]
    }
    END {
        print "| size | framework | tokens/s | neutreno is faster by | peak MiB | loss at 0, 20 |"
        print "|---|---|---|---|---|---|"
        for (i = 1; i <= count; i++) {
            split(order[i], k, " ")
            n = 0
            for (r = 1; r <= rounds; r++)
                if ((r, k[1], k[2]) in rate) {
                    rates[++n] = rate[r, k[1], k[2]]
                    ratios[n] = rate[r, k[1], "neutreno"] / rate[r, k[1], k[2]]
                }
            printf "| %s | %s | %d | %.2f × | %d | %s, %s |\n", k[1], k[2], median(rates, n),
                median(ratios, n), memory[k[1], k[2]], first[k[1], k[2]], last[k[1], k[2]]
        }
    }' "$lines"
