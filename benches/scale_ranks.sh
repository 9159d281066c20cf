#!/usr/bin/env bash
# Trains the same on one process and on several of MPI that have as many threads in all, in turn, and prints a table
# of medians: the tokens a second of both, their ratio, and where the time of the processes went. Run it with
# nothing else running. Then, computed from the largest model's speed and from what is sent, how a step of 64
# batches would scale on 1 to 64 machines like this one, over a network of GBITS (10) Gbit/s.
#
#   benches/scale_ranks.sh [ROUNDS] [TEXT]
#
# TEXT is what lm_wikitext takes with --data, for a vocabulary of 8,192 tokens; without it the tokens are bytes.
# Processes are bound to cores of their own, as long as there are enough; with UNBOUND=yes they are not. Where one
# process must not read another's memory, as in some containers, set
# OMPI_MCA_btl_vader_single_copy_mechanism=none; then it costs more.
# SPLITS="2x1 4x2" are the processes and their threads that are tried; else one process for each core, of one
# thread. PROGRAM is an lm_wikitext built with MPI; else it is built.
set -euo pipefail

rounds=3
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    rounds=$1
    shift
fi
tokens=(--tokenizer bytes)
[ $# -ge 1 ] && tokens=(--data "$(realpath "$1")" --tokenizer bpe:8192)
cd "$(dirname "$0")/.."
splits=${SPLITS:-$(nproc)x1}
if ! command -v mpirun >/dev/null; then
    echo "there is no mpirun: see docs/DISTRIBUTED.md" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

program=${PROGRAM:-}
if [ -z "$program" ]; then
    cargo build --release --features mpi --example lm_wikitext
    program=target/release/examples/lm_wikitext
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A number of a run's result: of the model, or the mean of all its ranks.
value() {
    grep -oE "\"$2\": ?[0-9.eE+-]+" "$1"/*/result.json | grep -oE '[0-9.eE+-]+$' |
        awk '{ sum += $1 } END { if (NR) print sum / NR; else print "-" }'
}

# measure SIZE SEQUENCES FLAGS...: so many sequences a step, or one for each process.
measure() {
    local name="$1,$split" ranks=${split%x*} threads=${split#*x} batch
    batch=$(($2 > ranks ? $2 / ranks : 1))
    shift 2
    local bound=(--map-by "slot:PE=$threads" --bind-to core)
    [ $((ranks * threads)) -le "$(nproc)" ] && [ -z "${UNBOUND:-}" ] ||
        bound=(--oversubscribe --bind-to none)
    local flags=("$@" "${tokens[@]}" --batch "$batch" --accumulate "$ranks" --offline --device cpu --quiet
        --variant transformer --warmup 0 --eval-every 0 --measure-every 0 --eval-tokens 512 --checkpoint-every 0)
    "$program" "${flags[@]}" --threads $((ranks * threads)) --out "$work/one" >/dev/null
    mpirun "${bound[@]}" -n "$ranks" "$program" "${flags[@]}" --threads "$threads" \
        --out "$work/many" >/dev/null
    cmp -s "$work"/one/*/model.safetensors "$work"/many/*/model.safetensors || { echo "other bits" >&2; exit 1; }
    echo "$name $(value "$work/one" parameters) $(value "$work/one" tokens_per_second)" \
        "$(value "$work/many" tokens_per_second) $(value "$work/many" waiting)" \
        "$(value "$work/many" communicating) $batch" | tee -a "$work/lines" >&2
    rm -r "$work/one" "$work/many"
}

echo "size,processes x threads parameters one/s many/s waiting communicating batch" >&2
for round in $(seq "$rounds"); do
    for split in $splits; do
        measure S 16 --layers 4 --width 128 --heads 4 --context 128 --steps 60
        measure M 8 --layers 6 --width 256 --heads 8 --context 256 --steps 10
        measure L 4 --layers 12 --width 768 --heads 12 --context 256 --steps 8
    done
done

# Medians of each, and of the ratios of the same round.
awk -v gbits="${GBITS:-10}" -v context=256 '
    function median(text,   list, count, i, j, t) {
        count = split(text, list, " ")
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && list[j - 1] + 0 > list[j] + 0; j--) {
                t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
            }
        return list[int((count + 1) / 2)]
    }
    !($1 in parameters) { order[++sizes] = $1 }
    {
        parameters[$1] = $2
        one[$1] = one[$1] " " $3; many[$1] = many[$1] " " $4; ratio[$1] = ratio[$1] " " $4 / $3
        waiting[$1] = waiting[$1] " " $5; communicating[$1] = communicating[$1] " " $6
        if ($1 ~ /^L/ && !largest) { largest = $1; batch = $7 }
    }
    END {
        printf "%-8s %12s %15s %15s %7s %9s %15s\n", "size", "parameters", "one process/s",
            "several/s", "ratio", "waiting", "communicating"
        for (i = 1; i <= sizes; i++) {
            s = order[i]
            printf "%-8s %12d %15.0f %15.0f %7.2f %8.1f%% %14.1f%%\n", s, parameters[s], median(one[s]),
                median(many[s]), median(ratio[s]), 100 * median(waiting[s]), 100 * median(communicating[s])
        }
        # In each of the rounds of a step, and once more at its end, a machine sends and receives
        # 4 P (R - 1) / R bytes. Nothing hidden: after the batches; hidden: rounds meanwhile, as far as they fit.
        micro = batch * context / median(one[largest])
        printf "\ncomputed: size L, 64 batches a step, %.2f s a batch, %g Gbit/s\n", micro, gbits
        printf "%8s %9s %22s %22s\n", "machines", "seconds", "speedup, hidden", "nothing hidden"
        for (r = 1; r <= 64; r *= 2) {
            rounds = 64 / r
            send = 4 * parameters[largest] * (r - 1) / r * 8 / (gbits * 1e9)
            apart = rounds * (micro + send) + send
            together = micro + (rounds - 1) * (micro > send ? micro : send) + send + send
            printf "%8d %9.1f %22.1f %22.1f\n", r, together, 64 * micro / together, 64 * micro / apart
        }
    }' "$work/lines"
